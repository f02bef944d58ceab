"""The native kernels of an instruction-set level, and why there are none where there are none.

`config.cpu_isa` names the level; "reference" asks for plain torch. Knows no operator: each has its own `cpu.py`.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from weft._native import Kernels

# The numbers by which csrc/simd.h knows element types.
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


@cache
def is_installed() -> bool:
    """Whether the package was built with its native kernels."""
    try:
        importlib.import_module("weft._native")
    except ImportError:
        return False
    return True


@cache
def extension():      # its type is the module's own: weft/_native.pyi
    """The compiled module. ImportError where the package was built without it."""
    import weft._native as native

    return native


def unavailable(device: str, isa: str) -> str | None:
    """Why there are no native kernels for this device and level; None when there are."""
    if device != "cpu":
        return "for CPUs"
    if isa == "reference":
        return "cpu_isa is reference"
    return "weft was installed without its native kernels (no C++ compiler)" if not is_installed() else None


@cache
def kernels(isa: str) -> Kernels:
    """The table of kernels of a level. Only where `unavailable` has no reason."""
    return extension().kernels(isa)

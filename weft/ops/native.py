"""The native kernels of an ISA (instruction-set) level, or the reason why a device has none.

`config.cpu_isa` names the level; "reference" asks for plain torch. The operators' bindings are in each one's `cpu.py`.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from weft._native import Kernels

# The kernels' numbers of element types, DType in csrc/limits.h.
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
def extension():      # no annotation: the type is that of the module, weft/_native.pyi
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
    """The table of kernels of an ISA level. Call it only where `unavailable` returns None."""
    return extension().kernels(isa)

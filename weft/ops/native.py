"""The native kernels of an instruction-set level, and why there are none where there are none.

`config.cpu_isa` names the level; "reference" asks for plain torch. Knows no operator: each has its own `cpu.py`.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import Any

import torch

# The numbers by which csrc/simd.h knows element types.
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


@cache
def extension() -> ModuleType | None:
    """The compiled module, or None where the package was built without it."""
    try:
        return importlib.import_module("weft._native")
    except ImportError:
        return None


def unavailable(device: str, isa: str) -> str | None:
    """Why there are no native kernels for this device and level; None when there are."""
    if device != "cpu":
        return "for CPUs"
    if isa == "reference":
        return "cpu_isa is reference"
    return "weft was installed without its native kernels (no C++ compiler)" if extension() is None else None


@cache
def kernels(isa: str) -> Any:
    """The table of kernels of a level. Only where `unavailable` has no reason."""
    return extension().kernels(isa)

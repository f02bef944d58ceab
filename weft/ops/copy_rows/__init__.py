"""out[:] = x, row by row. `Tensor.copy_` is the definition; weft's kernel copies where steps are recorded.

A recording (graph capture, ops/tape) holds calls of weft's kernels only, so copies within a model's blocks need one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weft.ops.copy_rows.cpu import NativeCopy, check_copy
from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.native import DTYPES, unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyCase:
    """The properties that decide which kernel copies rows."""

    device: str
    dtype: torch.dtype
    isa: str = "reference"


def _native_refuses(case: CopyCase) -> str | None:
    return unavailable(case.device, case.isa) or (None if case.dtype in DTYPES else f"{case.dtype}")


def choose_copy(case: CopyCase) -> Choice:
    """The kernel that runs `run(x, out)`: x [T, N] to out [T, N], of x's dtype. ValueError if shape or dtype differ."""
    native = None if _native_refuses(case) else NativeCopy(case.isa)
    return choose("copy_rows", (Kernel("native", native, _native_refuses), Kernel("torch", _torch, never)), case)


def _torch(x: Tensor, out: Tensor) -> None:
    check_copy(x, out)
    out.copy_(x)

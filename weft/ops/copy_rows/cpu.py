"""Copies of rows by weft's native activation kernel (csrc/act.h), which copies when it is given no activation.

Bound: memory bandwidth.
"""

from __future__ import annotations

from torch import Tensor

from weft.ops.activation.cpu import ACTS
from weft.ops.native import DTYPES, kernels


class NativeCopy:
    """out[:] = x, bit for bit."""

    def __init__(self, isa: str) -> None:
        self._run = kernels(isa).activation

    def __call__(self, x: Tensor, out: Tensor) -> None:
        """x, out: [T, N] of one dtype, rows without gaps."""
        check_copy(x, out)
        rows, width = x.shape
        self._run(ACTS[None], False, x.data_ptr(), DTYPES[x.dtype], rows, width, x.stride(0), out.data_ptr(),
                  out.stride(0))


def check_copy(x: Tensor, out: Tensor) -> None:
    """ValueError unless out has x's shape, [T, N], dtype and device, and rows without gaps as x has."""
    same = x.shape == out.shape and x.dtype == out.dtype and x.device == out.device
    if not same or x.dim() != 2 or (x.shape[1] > 1 and (x.stride(1) != 1 or out.stride(1) != 1)):
        raise ValueError(f"out is {out.dtype} {list(out.shape)} of strides {out.stride()} on {out.device}, x is "
                         f"{x.dtype} {list(x.shape)} of strides {x.stride()} on {x.device}: expected the same shape, "
                         "dtype and device, and rows without gaps")

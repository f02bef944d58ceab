"""The norms by weft's native kernel (csrc/norm.h). Bound: reading x and writing the result, in the CPU's caches."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.native import DTYPES, kernels
from weft.ops.norm.options import NormOptions


class NativeNorm:
    """A kernel with the contract of ReferenceNorm, for x [T, N] and a weight and bias [N]."""

    def __init__(self, weight: Tensor | None, bias: Tensor | None, options: NormOptions, dtype: torch.dtype,
                 isa: str) -> None:
        self._kernels, self._dtype, self._type, self._options = kernels(isa), dtype, DTYPES[dtype], options
        self._weight = norm_weight(weight, options)
        self._bias = None if bias is None else bias.float()
        self._weight_at = 0 if self._weight is None else self._weight.data_ptr()
        self._bias_at = 0 if self._bias is None else self._bias.data_ptr()

    def __call__(self, x: Tensor, out: Tensor | None = None, residual: Tensor | None = None,
                 alpha: float = 1.0) -> Tensor:
        """x [T, N] -> [T, N], in the residual or `out` if one is given. ValueError for an unfit dtype or shape."""
        x = self._rows(x)
        if residual is not None:
            _check_like("residual", residual, x)
            out = residual
        elif out is None:
            out = torch.empty(x.shape, dtype=x.dtype)
        o, (rows, columns) = self._options, x.shape
        self._kernels.norm(o.centred, o.cast_before_weight, o.eps, x.data_ptr(), self._type, rows, columns,
                           x.stride(0), self._weight_at, self._bias_at, residual is not None, alpha, out.data_ptr(),
                           out.stride(0))
        return out

    def add(self, x: Tensor, residual: Tensor, out: Tensor | None = None,
            total: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As ReferenceNorm, for [T, N]. Writes to `out` and `total` where they are given; either may be x or residual.

        ValueError for a dtype or shape that does not fit, and for an out that is the total.
        """
        x, residual = self._rows(x), self._rows(residual)
        out = torch.empty(x.shape, dtype=x.dtype) if out is None else out
        total = torch.empty(x.shape, dtype=x.dtype) if total is None else total
        for name, tensor in (("residual", residual), ("out", out), ("total", total)):
            _check_like(name, tensor, x)
        if out.data_ptr() == total.data_ptr() and out.numel():
            raise ValueError("out and total are the same memory, expected two: the norm reads the total")
        o, (rows, columns) = self._options, x.shape
        self._kernels.add_norm(o.centred, o.cast_before_weight, o.eps, x.data_ptr(), x.stride(0), residual.data_ptr(),
                               residual.stride(0), self._type, rows, columns, self._weight_at, self._bias_at,
                               total.data_ptr(), total.stride(0), out.data_ptr(), out.stride(0))
        return out, total

    def _rows(self, x: Tensor) -> Tensor:
        """x, copied if a row of it has gaps. ValueError for another dtype."""
        if x.dtype != self._dtype:
            raise ValueError(f"x is {x.dtype}, the norm was made for {self._dtype}")
        return x if x.stride(1) == 1 else x.contiguous()


def _check_like(name: str, tensor: Tensor, x: Tensor) -> None:
    if tensor.shape != x.shape or tensor.dtype != x.dtype or tensor.stride(1) != 1:
        raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, stride {tensor.stride()}; "
                         f"expected {x.dtype} {tuple(x.shape)}, rows without gaps")


def norm_weight(weight: Tensor | None, options: NormOptions) -> Tensor | None:
    """The factors as float32: offset + weight, added in the dtype that the definition adds them in."""
    if weight is None:
        return None
    if options.cast_before_weight:
        return (options.offset + weight).float().contiguous()
    return (options.offset + weight.float()).contiguous()

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
        self._norm, self._dtype, self._type, self._options = kernels(isa).norm, dtype, DTYPES[dtype], options
        self._weight = norm_weight(weight, options)
        self._bias = None if bias is None else bias.float()
        self._weight_at = 0 if self._weight is None else self._weight.data_ptr()
        self._bias_at = 0 if self._bias is None else self._bias.data_ptr()

    def __call__(self, x: Tensor, out: Tensor | None = None, residual: Tensor | None = None,
                 alpha: float = 1.0) -> Tensor:
        """x [T, N] -> [T, N], in the residual or `out` if one is given. ValueError for an unfit dtype or shape."""
        if x.dtype != self._dtype:
            raise ValueError(f"x is {x.dtype}, the norm was made for {self._dtype}")
        if x.stride(1) != 1:
            x = x.contiguous()
        if residual is not None:
            if residual.shape != x.shape or residual.dtype != x.dtype or residual.stride(1) != 1:
                raise ValueError(f"residual is {residual.dtype} {tuple(residual.shape)}, stride {residual.stride()}; "
                                 f"expected {x.dtype} {tuple(x.shape)}, rows without gaps")
            out = residual
        elif out is None:
            out = torch.empty(x.shape, dtype=x.dtype)
        o, (rows, columns) = self._options, x.shape
        self._norm(o.centred, o.cast_before_weight, o.eps, x.data_ptr(), self._type, rows, columns, x.stride(0),
                   self._weight_at, self._bias_at, residual is not None, alpha, out.data_ptr(), out.stride(0))
        return out


def norm_weight(weight: Tensor | None, options: NormOptions) -> Tensor | None:
    """The factors as float32: offset + weight, added in the dtype that the definition adds them in."""
    if weight is None:
        return None
    if options.cast_before_weight:
        return (options.offset + weight).float().contiguous()
    return (options.offset + weight.float()).contiguous()

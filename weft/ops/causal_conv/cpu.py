"""The causal convolution by weft's native kernel (csrc/conv.h). Bound: memory, reading x and writing the result."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.activation.cpu import ACTS
from weft.ops.native import DTYPES, kernels
from weft.ops.scan_plan import ScanPlan, result_memory

LONGEST = 16                   # largest kernel size; csrc/limits.h


class NativeCausalConv:
    """A kernel with the contract of ReferenceCausalConv."""

    def __init__(self, act: str | None, dtype: torch.dtype, isa: str, weight: Tensor, bias: Tensor | None) -> None:
        self._conv, self._act, self._dtype = kernels(isa).conv, ACTS[act], dtype
        self._channels, self._size = weight.shape
        self._weight = weight.t().float().contiguous()
        self._bias = None if bias is None else bias.float().contiguous()

    def __call__(self, x: Tensor, states: Tensor, plan: ScanPlan, out: Tensor | None = None) -> Tensor:
        """As ReferenceCausalConv. ValueError for another dtype or shape, and for states that are not contiguous."""
        plan.check(len(x), states)
        shape = (self._size - 1, self._channels)
        if x.dtype != self._dtype or states.dtype != self._dtype or x.shape[1] != self._channels:
            raise ValueError(f"x is {x.dtype} {list(x.shape)}, states {states.dtype}; expected {self._dtype}, "
                             f"{self._channels} channels")
        if states.shape[1:] != shape or not states.is_contiguous():
            raise ValueError(f"states: {list(states.shape)}, expected contiguous [B, {shape[0]}, {shape[1]}]")
        if x.stride(1) != 1:
            x = x.contiguous()
        out = result_memory(x, out, by_row=True)
        self._conv(plan.native, x.data_ptr(), DTYPES[x.dtype], x.stride(0), self._channels, self._weight.data_ptr(),
                   self._size, 0 if self._bias is None else self._bias.data_ptr(), self._act, states.data_ptr(),
                   out.data_ptr(), out.stride(0))
        return out

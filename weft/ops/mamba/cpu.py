"""Mamba's scans by weft's native kernel (csrc/mamba.h).

They go token by token, so the end of a chunk changes no bit. Bound: for Mamba-1 one exponential for each state and
token, for Mamba-2 reading and writing each state once a token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.mamba.options import MambaOptions
from weft.ops.native import DTYPES, kernels
from weft.ops.scan_plan import ScanPlan, result_memory

LARGEST_STATE = 256            # largest state size; csrc/limits.h


class NativeMamba:
    """As ReferenceMamba."""

    def __init__(self, options: MambaOptions, isa: str, a: Tensor, d: Tensor | None, dt_bias: Tensor | None) -> None:
        self._run, self._options = kernels(isa).mamba, options
        a = a if options.by_head else a.t()
        self._tensors = [None if p is None else p.float().contiguous() for p in (a, d, dt_bias)]
        a_at, d_at, dt_bias_at = (0 if p is None else p.data_ptr() for p in self._tensors)
        self._addresses = a_at, d_at, dt_bias_at

    def __call__(self, x: Tensor, dt: Tensor, b: Tensor, c: Tensor, states: Tensor, plan: ScanPlan,
                 z: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """As ReferenceMamba. ValueError for other dtypes and shapes; rows of the inputs may be strided."""
        plan.check(len(x), states)
        options = self._options
        heads, size = x.shape[1:] if options.by_head else (1, x.shape[1])
        groups, state_size = b.shape[1:] if options.by_head else (1, b.shape[1])
        inputs = [x, dt, b, c] if z is None else [x, dt, b, c, z]
        if any(t.dtype != x.dtype or len(t) != len(x) for t in inputs):
            found = [(str(t.dtype), list(t.shape)) for t in inputs]
            raise ValueError(f"x, dt, b, c, z: {found}, expected one dtype and length")
        if dt.shape[1] != (heads if options.by_head else size) or b.shape != c.shape or heads % groups:
            raise ValueError(f"x {list(x.shape)}, dt {list(dt.shape)}, b {list(b.shape)}, c {list(c.shape)} do not fit")
        shape = (heads, state_size, size) if options.by_head else (state_size, size)
        if states.dtype != torch.float32 or states.shape[1:] != shape or not states.is_contiguous():
            raise ValueError(f"states: {states.dtype} {list(states.shape)}, expected contiguous float32 [B, *{shape}]")
        if z is not None and z.shape != x.shape:
            raise ValueError(f"z: {list(z.shape)}, expected {list(x.shape)}, as x")
        x, dt, b, c = (_rows(t) for t in (x, dt, b, c))
        z = None if z is None else _rows(z)
        out = result_memory(x, out)
        self._run(plan.native, options.by_head, *_place(x), *_place(dt), *_place(b), *_place(c), *_place(z),
                  DTYPES[x.dtype], *self._addresses, options.softplus, *options.dt_limits, heads, size, groups,
                  state_size, states.data_ptr(), out.data_ptr())
        return out


def _place(x: Tensor | None) -> tuple[int, int]:
    return (0, 0) if x is None else (x.data_ptr(), x.stride(0))


def _rows(x: Tensor) -> Tensor:
    """x, or a copy of it, with each row's elements next to each other."""
    expected = (x.shape[2], 1) if x.dim() == 3 else (1,)
    return x if x.stride()[1:] == expected else x.contiguous()

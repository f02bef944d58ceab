"""The gated delta rule by weft's native kernel (csrc/gated_delta.h).

It goes token by token, so the end of a chunk changes no bit. Bound: each token reads and writes the state once, in the
first-level cache for prompts, in memory for decodes of many sequences.
"""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.native import DTYPES, kernels
from weft.ops.scan_plan import ScanPlan

LARGEST_KEY = 256              # most dimensions of a key; csrc/limits.h


class NativeGatedDelta:
    """As reference.gated_delta."""

    def __init__(self, scale: float, normalises: bool, isa: str) -> None:
        self._run, self._scale, self._normalises = kernels(isa).gated_delta, scale, normalises

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, log_decays: Tensor, betas: Tensor, states: Tensor,
                 plan: ScanPlan) -> Tensor:
        """As reference.gated_delta. ValueError for other dtypes and shapes; rows of q, k and v may be strided."""
        plan.check(len(v), states)
        (tokens, heads, value_dim), (key_heads, key_dim) = v.shape, k.shape[1:]
        if not (q.dtype == k.dtype == v.dtype) or q.shape != k.shape or len(k) != tokens or heads % key_heads:
            raise ValueError(f"q {q.dtype} {list(q.shape)}, k {k.dtype} {list(k.shape)}, v {v.dtype} {list(v.shape)}: "
                             "expected one dtype, q like k, and heads of v a multiple of k's")
        shape = (heads, key_dim, value_dim)
        if states.shape[1:] != shape or states.dtype != torch.float32 or not states.is_contiguous():
            raise ValueError(f"states: {states.dtype} {list(states.shape)}, expected contiguous float32 [B, *{shape}]")
        for x in (log_decays, betas):
            if x.dtype != torch.float32 or x.shape != (tokens, heads) or not x.is_contiguous():
                raise ValueError(f"decays and betas: {x.dtype} {list(x.shape)}, expected contiguous float32 "
                                 f"[{tokens}, {heads}]")
        q, k, v = (x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous() for x in (q, k, v))
        out = torch.empty(v.shape, dtype=v.dtype)
        self._run(plan.native, q.data_ptr(), q.stride(0), k.data_ptr(), k.stride(0), v.data_ptr(), v.stride(0),
                  DTYPES[v.dtype], log_decays.data_ptr(), betas.data_ptr(), key_heads, heads, key_dim, value_dim,
                  self._scale, self._normalises, states.data_ptr(), out.data_ptr())
        return out

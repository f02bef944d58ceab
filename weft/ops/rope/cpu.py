"""Rotation of q and k by weft's native kernel (csrc/qk.h). Bound: reading q and k once and writing them once."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.native import DTYPES, kernels
from weft.ops.rope.case import RopeCase


class NativeRope:
    """A kernel with the contract of ReferenceRope; computes in float32 and rounds once.

    A token's heads are read where they lie, whatever is between tokens, if they lie together; else they are copied.
    """

    def __init__(self, case: RopeCase) -> None:
        self._rotate, self._case = kernels(case.isa).rotate, case

    def __call__(self, q: Tensor, k: Tensor | None, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
        """As ReferenceRope. ValueError for a dtype or shape that does not fit the case, the angles or each other."""
        case, (cos, sin) = self._case, angles
        tokens = len(q)
        for name, x in (("cos", cos), ("sin", sin)):
            if x.shape != (tokens, case.half) or x.dtype != torch.float32 or not x.is_contiguous():
                raise ValueError(f"{name} is {x.dtype} {tuple(x.shape)}, stride {x.stride()}; expected contiguous "
                                 f"float32 {(tokens, case.half)}")
        q, q_out = self._heads("q", q, tokens)
        k, k_out = (None, None) if k is None else self._heads("k", k, tokens)
        keys = (0, 0, 0) if k is None else (k.data_ptr(), k.stride(0), k.shape[1])
        to = (0, 0) if k_out is None else (k_out.data_ptr(), k_out.stride(0))
        self._rotate(q.data_ptr(), q.stride(0), q.shape[1], *keys, DTYPES[case.dtype], tokens, case.head_dim,
                     cos.data_ptr(), sin.data_ptr(), case.half, case.interleaved, q_out.data_ptr(), q_out.stride(0),
                     *to)
        return q_out, k_out

    def _heads(self, name: str, x: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        """(x with each token's heads together, memory for its result)."""
        size, dtype = self._case.head_dim, self._case.dtype
        if x.dim() != 3 or x.shape[0] != tokens or x.shape[2] != size or x.dtype != dtype:
            raise ValueError(f"{name} is {x.dtype} {tuple(x.shape)}, expected {dtype} [{tokens}, heads, {size}]")
        x = x if x.stride()[1:] == (size, 1) else x.contiguous()
        return x, torch.empty(x.shape, dtype=dtype)

"""Kernels that go through a plan piece by piece: this makes one of a function that attends for one piece."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from weft.ops.attention.gather import piece_keys, write_cache
from weft.ops.attention.params import AttentionParams
from weft.ops.attention.pieces import Piece
from weft.ops.attention.plan import AttentionPlan

Attend = Callable[[Tensor, Tensor, Tensor, Piece, AttentionParams], Tensor]


def by_piece(attend: Attend) -> Callable[..., Tensor]:
    """A kernel with the contract of `reference.run`."""

    def run(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, plan: AttentionPlan,
            params: AttentionParams, out: Tensor | None = None) -> Tensor:
        write_cache(k, v, k_cache, v_cache, plan)
        q = q.contiguous()
        if plan.is_one_piece:
            piece = plan.pieces[0]
            return attend(q, piece_keys(piece, k, k_cache), piece_keys(piece, v, v_cache), piece, params)
        out = torch.empty_like(q) if out is None else out
        for piece in plan.pieces:
            keys, values = piece_keys(piece, k, k_cache), piece_keys(piece, v, v_cache)
            out[piece.rows] = attend(q[piece.rows], keys, values, piece, params)
        return out

    return run

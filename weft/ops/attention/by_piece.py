"""`by_piece` makes a kernel of a function that attends for one piece (tile) of a plan."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from weft.ops.attention.gather import piece_keys, values_of, write_cache
from weft.ops.attention.params import AttentionParams
from weft.ops.attention.pieces import Piece
from weft.ops.attention.plan import AttentionPlan

Attend = Callable[[Tensor, Tensor, Tensor, Piece, AttentionParams], Tensor]


def by_piece(attend: Attend) -> Callable[..., Tensor]:
    """A kernel with the contract of `reference.run`, which calls `attend` for each piece."""

    def run(q: Tensor, k: Tensor | None, v: Tensor | None, k_cache: Tensor, v_cache: Tensor | None, plan: AttentionPlan,
            params: AttentionParams, out: Tensor | None = None) -> Tensor:
        if k is not None:
            write_cache(k, v, k_cache, v_cache, plan)
        if not plan.query_lens:
            return q
        q = q.contiguous()

        def results(piece: Piece) -> Tensor:
            keys = piece_keys(piece, k, k_cache, q.dtype)
            values = values_of(keys, None if v_cache is None else piece_keys(piece, v, v_cache, q.dtype), params)
            rows = attend(q[piece.rows], keys, values, piece, params)
            return rows if piece.blind is None else rows.masked_fill(piece.blind.view(-1, 1, 1), 0)

        if plan.is_one_piece:
            return results(plan.pieces[0])
        if out is None:
            out = q.new_empty(*q.shape[:2], params.value_dim or q.shape[2])
        for piece in plan.pieces:
            out[piece.rows] = results(piece)
        return out

    return run

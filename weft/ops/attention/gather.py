"""Rows of the cache: where a step's keys and values go, and which rows a piece reads.

A cache is [B, Hkv, P, D]: within a block each head's tokens lie together, so that gathering blocks head by head gives
[s, Hkv, L, D] without another copy, which is what batched products want.
"""

from __future__ import annotations

from torch import Tensor

from weft.ops.attention.plan import AttentionPlan, Piece


def write_cache(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, plan: AttentionPlan) -> None:
    """Put this step's k and v ([T, Hkv, D]) into their slots of the caches ([B, Hkv, P, D])."""
    rows = plan.slot_rows(k.shape[1])
    for new, cache in ((k, k_cache), (v, v_cache)):
        if plan.has_fresh_blocks:
            cache.index_fill_(0, plan.fresh_blocks, 0)
        cache.view(-1, cache.shape[-1]).index_copy_(0, rows, new.reshape(-1, cache.shape[-1]))


def piece_keys(piece: Piece, new: Tensor, cache: Tensor) -> Tensor:
    """[s, Hkv, L, D] of one piece. new: this step's k (or v), [T, Hkv, D]; cache: [B, Hkv, P, D]."""
    if piece.local is not None:
        return new[piece.local].transpose(0, 1).unsqueeze(0)
    _, kv_heads, block_size, size = cache.shape
    rows = cache.view(-1, block_size * size).index_select(0, piece.block_rows(kv_heads))
    return rows.view(piece.num_seqs, kv_heads, piece.num_keys, size)

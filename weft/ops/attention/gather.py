"""Keys and values of a piece: from this step's own rows, or gathered from the cache block by block."""

from __future__ import annotations

from torch import Tensor

from weft.ops.attention.plan import AttentionPlan, Piece


def write_cache(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, plan: AttentionPlan) -> None:
    """Put this step's k and v ([T, Hkv, D]) into their slots of the caches ([B, P, Hkv, D])."""
    for rows, cache in ((k, k_cache), (v, v_cache)):
        if plan.fresh_blocks.numel():
            cache.index_fill_(0, plan.fresh_blocks, 0)
        cache.view(-1, *cache.shape[2:]).index_copy_(0, plan.slot_mapping, rows)


def piece_keys(piece: Piece, rows: Tensor, cache: Tensor) -> Tensor:
    """[s, Hkv, L, D] of one piece. rows: this step's k (or v), [T, Hkv, D]; cache: [B, P, Hkv, D]."""
    if piece.local is not None:
        return rows[piece.local].transpose(0, 1).unsqueeze(0)
    blocks = cache.index_select(0, piece.block_ids)                                   # [s * m, P, Hkv, D]
    return blocks.view(piece.num_seqs, piece.num_keys, *cache.shape[2:]).transpose(1, 2)

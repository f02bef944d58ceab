"""Writing a step's keys and values to the cache, and gathering the rows that a piece reads.

A cache is [B, Hkv, P, R]. The tokens of a head lie together within a block, so that gathering blocks head by head gives
[s, Hkv, L, D], the operand of batched products, without another copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.attention.kv_format import decode, encode
from weft.ops.attention.params import AttentionParams
from weft.ops.attention.pieces import Piece
from weft.ops.attention.plan import AttentionPlan


def write_cache(k: Tensor, v: Tensor | None, k_cache: Tensor, v_cache: Tensor | None, plan: AttentionPlan) -> None:
    """Put the step's new k and v ([N, Hkv, D]) into their slots of the caches ([B, Hkv, P, R]). Latents have no v."""
    rows = plan.slot_rows(k.shape[1])
    for new, cache in ((k, k_cache), (v, v_cache)):
        if new is None or cache is None:
            continue
        stored = _movable(cache)
        if len(plan.fresh_blocks):
            stored.index_fill_(0, plan.fresh_blocks, 0)
        new_rows = _movable(encode(new.reshape(-1, new.shape[-1]), cache.dtype))
        stored.view(-1, cache.shape[-1]).index_copy_(0, rows, new_rows)


def piece_keys(piece: Piece, new: Tensor | None, cache: Tensor, dtype: torch.dtype) -> Tensor:
    """[s, Hkv, L, D] of one piece, in `dtype`. new: the step's new k (or v), [N, Hkv, D]; cache: [B, Hkv, P, R]."""
    if new is not None and piece.local is not None:
        own = new[piece.local]
        if cache.dtype != dtype:                                       # round as the cache would
            own = decode(encode(own.reshape(-1, own.shape[-1]), cache.dtype), dtype).view(own.shape)
        return own.transpose(0, 1).unsqueeze(0)
    _, kv_heads, block_size, size = cache.shape
    rows = _movable(cache).view(-1, block_size * size).index_select(0, piece.block_rows(kv_heads))
    rows = rows.view(cache.dtype).view(piece.num_seqs, kv_heads, piece.num_keys, size)
    return rows if cache.dtype == dtype else decode(rows, dtype)


def values_of(keys: Tensor, values: Tensor | None, params: AttentionParams) -> Tensor:
    """The values: those given, or the last numbers of latents ([..., D] -> [..., value_dim])."""
    if values is not None:
        return values
    assert params.value_dim is not None, "keys without values are latents"
    return keys[..., keys.shape[-1] - params.value_dim :]


def _movable(x: Tensor) -> Tensor:
    """x as uint8 if its elements have 8 bits: torch's indexing does not know all 8-bit types."""
    return x.view(torch.uint8) if x.dtype.itemsize == 1 else x

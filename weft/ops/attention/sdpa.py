"""Attention by torch's fused scaled_dot_product_attention: one call for each piece of the plan."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from weft.ops.attention.gather import piece_keys, write_cache
from weft.ops.attention.params import AttentionParams
from weft.ops.attention.plan import AttentionPlan, Piece


def run(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, plan: AttentionPlan,
        params: AttentionParams) -> Tensor:
    """As `reference.run`; no soft cap."""
    write_cache(k, v, k_cache, v_cache, plan)
    out = torch.empty_like(q)
    for piece in plan.pieces:
        out[piece.rows] = _attend(q[piece.rows], piece_keys(piece, k, k_cache), piece_keys(piece, v, v_cache), piece, params)
    return out


def _attend(q: Tensor, keys: Tensor, values: Tensor, piece: Piece, params: AttentionParams) -> Tensor:
    """q: [s * n, H, D]; keys, values: [s, Hkv, L, D]; returns [s * n, H, D]."""
    s, n, (heads, size), kv_heads = piece.num_seqs, piece.num_queries, q.shape[1:], keys.shape[1]
    mask = _bias(piece, params)
    if n == 1:
        # The query heads of a group become queries of one KV head: the kernel then reads each key once.
        grouped = q.view(s, kv_heads, heads // kv_heads, size)
        if mask is not None:
            mask = mask.view(s, kv_heads, -1, mask.shape[-1]) if mask.shape[1] > 1 else mask.expand(-1, -1, grouped.shape[2], -1)
        return scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=params.scale).reshape(s, heads, size)
    queries = q.view(s, n, heads, size).transpose(1, 2)
    out = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=params.scale,
                                       enable_gqa=kv_heads != heads)
    return out.transpose(1, 2).reshape(s * n, heads, size)


def _bias(piece: Piece, params: AttentionParams) -> Tensor | None:
    """[s, 1 or H, n, L], added to the scores."""
    if params.alibi is None:
        return piece.mask
    bias = params.alibi.bias(piece.key_positions, piece.last_position)
    return bias.expand(-1, -1, piece.num_queries, -1) if piece.mask is None else bias + piece.mask

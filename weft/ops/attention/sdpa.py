"""A piece of attention by torch's fused scaled_dot_product_attention, without soft cap and sinks."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from weft.ops.attention.params import AttentionParams, distance_bias
from weft.ops.attention.pieces import Piece


def attend(q: Tensor, keys: Tensor, values: Tensor, piece: Piece, params: AttentionParams) -> Tensor:
    """One piece: q [s * n, H, D]; keys [s, Hkv, L, D]; values [s, Hkv, L, Dv]; returns [s * n, H, Dv]."""
    s, n, (heads, size), kv_heads = piece.num_seqs, piece.num_queries, q.shape[1:], keys.shape[1]
    mask = _bias(piece, params)
    if n == 1:
        # The query heads of a KV head become queries of one head, so that the kernel reads each key once.
        grouped = q.view(s, kv_heads, heads // kv_heads, size)
        if mask is not None:
            by_head = mask.shape[1] > 1
            mask = mask.view(s, kv_heads, -1, piece.num_keys) if by_head else mask.expand(-1, -1, grouped.shape[2], -1)
        out = scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=params.scale)
        return out.reshape(s, heads, -1)
    queries = q.view(s, n, heads, size).transpose(1, 2)
    out = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=params.scale,
                                       enable_gqa=kv_heads != heads)
    return out.transpose(1, 2).reshape(s * n, heads, -1)


def _bias(piece: Piece, params: AttentionParams) -> Tensor | None:
    """The sum of mask and biases, [s, 1 or H, n, L], that is added to the scores; None for no sum."""
    bias = piece.mask
    if params.alibi is not None:
        alibi = params.alibi.bias(piece.key_positions, piece.last_position)
        bias = alibi.expand(-1, -1, piece.num_queries, -1) if bias is None else alibi + bias
    if params.bias_by_distance is not None:
        by_distance = distance_bias(params.bias_by_distance, piece.distances).transpose(0, 1).contiguous()
        bias = by_distance if bias is None else by_distance + bias
    return bias

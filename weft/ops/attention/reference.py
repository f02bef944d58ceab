"""The definition of attention over the paged KV cache: one sequence at a time, in float32, written to be read."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.attention.gather import values_of, write_cache
from weft.ops.attention.kv_format import decode
from weft.ops.attention.params import AttentionParams, RelativeTerms, distance_bias
from weft.ops.attention.plan import AttentionPlan


def run(q: Tensor, k: Tensor | None, v: Tensor | None, k_cache: Tensor, v_cache: Tensor | None, plan: AttentionPlan,
        params: AttentionParams, out: Tensor | None = None) -> Tensor:
    """Write this step's keys and values to the cache, then attend.

    Args:
        q: [T, H, D], any float dtype. k, v: [N, Hkv, D], or None where the plan has no slots (all keys are cached).
        k_cache, v_cache: [B, Hkv, P, R], modified (kv_format.py). Latents (params.value_dim) have no v and no v_cache.
        out: [T, H, D], contiguous, in the dtype of q: memory that a kernel may use for the result.
    Returns:
        [T, H, D] in the dtype of q ([T, H, value_dim] for latents); zeros for a query that sees no key. Of a plan
        without sequences: q, [0, H, D].
    Source: PagedAttention, arXiv:2309.06180 section 4; grouped queries, arXiv:2305.13245.
    """
    if k is not None:
        write_cache(k, v, k_cache, v_cache, plan)
    if not plan.query_lens:
        return q
    group, results = q.shape[1] // k_cache.shape[1], []
    firsts, ends = (torch.from_numpy(bound).long().split(list(plan.query_lens)) for bound in plan.key_ranges)
    for q_seq, length, blocks, first, end in zip(
            q.float().split(list(plan.query_lens)), plan.seq_lens, plan.block_table, firsts, ends, strict=True):
        used = blocks[: -(-length // plan.block_size)].clamp(min=0)
        position = torch.arange(length)
        hidden = (position < first[:, None]) | (position >= end[:, None])                              # [q, L]
        keys, values = (
            None if cache is None else
            decode(cache[used].transpose(1, 2).flatten(0, 1)[:length], torch.float32)
            .masked_fill(hidden.all(0)[:, None, None], 0)                # keys that no query sees may have no block
            .repeat_interleave(group, dim=1)                                                           # [L, H, D]
            for cache in (k_cache, v_cache))
        assert keys is not None, "keys are always cached"
        values = values_of(keys, values, params)
        query = torch.arange(length - len(q_seq), length)[:, None]
        scores = torch.einsum("qhd,khd->hqk", q_seq, keys)
        if params.relative is not None:
            scores = scores + _relative(params.relative, q_seq, keys, position - query)                # [H, q, L]
        scores = scores * params.scale
        if params.softcap is not None:
            scores = params.softcap * torch.tanh(scores / params.softcap)
        if params.alibi is not None:
            last = torch.full((1, 1, 1, 1), length - 1.0)
            scores = scores + params.alibi.bias(position.float().view(1, 1, 1, -1), last)[0]
        if params.bias_by_distance is not None:
            scores = scores + distance_bias(params.bias_by_distance, position - query)                 # [H, q, L]
        scores = scores.masked_fill(hidden, -torch.inf)
        if params.sinks is not None:
            scores = torch.cat((scores, params.sinks.view(-1, 1, 1).expand(-1, len(q_seq), 1)), -1)
        weights = scores.softmax(-1)[..., :length].masked_fill(hidden.all(-1, keepdim=True), 0)
        results.append(torch.einsum("hqk,khd->qhd", weights, values))
    return torch.cat(results).to(q.dtype)


def _relative(terms: RelativeTerms, q: Tensor, k: Tensor, distances: Tensor) -> Tensor:
    """[H, q, L] of q [q, H, D] and k [L, H, D], one distance after another."""
    most, out = terms.rows.shape[0] // 2, torch.zeros(q.shape[1], *distances.shape)
    distances = distances.clamp(-most, most)
    for distance in distances.unique().tolist():
        row, pairs = terms.rows[distance + most], distances == distance
        if terms.keys is not None:
            out += pairs * torch.einsum("qhd,hd->hq", q, terms.keys[:, row].float()).unsqueeze(2)
        if terms.queries is not None:
            out += pairs * torch.einsum("khd,hd->hk", k, terms.queries[:, row].float()).unsqueeze(1)
    return out

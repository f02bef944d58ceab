"""`check_attention`: raises for a call of an attention kernel whose arguments the kernel would misread.

The kernels check nothing themselves, because described layers call them every few microseconds with arguments that fit.
Callers that pass on foreign tensors (programmed models, Transformers' modules) call this first. A check takes
microseconds; block ids are checked once for each plan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from weft.errors import FieldError
from weft.ops.attention.cpu import KINDS
from weft.ops.attention.kv_format import cache_shape
from weft.ops.attention.params import AttentionParams
from weft.ops.attention.plan import AttentionPlan
from weft.ops.native import DTYPES


def check_attention(q: Tensor, k: Tensor | None, v: Tensor | None, k_cache: Tensor, v_cache: Tensor,
                    plan: AttentionPlan, params: AttentionParams, out: Tensor | None = None) -> None:
    """FieldError for the first argument of `reference.run` that a kernel would misread.

    q, k and v may each have any stride between tokens; the heads of a token must lie together.
    """
    shape, dtype, device = q.shape, q.dtype, q.device
    if len(shape) != 3 or shape[0] != plan.num_queries:
        raise FieldError("q.shape", tuple(shape), expected=f"[{plan.num_queries}, H, D], the plan's queries")
    if dtype not in DTYPES:
        raise FieldError("q.dtype", dtype, expected="float32, bfloat16 or float16")
    _check_heads("q", q, shape)
    _check_caches(shape, dtype, device, k_cache, v_cache, plan)
    new_shape = (len(plan.slots), k_cache.shape[1], shape[2])
    _check_new("k", k, new_shape, dtype, device)
    _check_new("v", v, new_shape, dtype, device)
    if params.alibi is not None:
        _check_numbers("params.alibi.slopes", params.alibi.slopes, (shape[1],), device)
    if params.sinks is not None:
        _check_numbers("params.sinks", params.sinks, (shape[1],), device)
    if params.bias_by_distance is not None:
        bias = params.bias_by_distance
        _check_numbers("params.bias_by_distance", bias, (shape[1], bias.shape[-1] | 1), device)
    if out is not None:
        _same("out", ".shape", out.shape, shape, "q's")
        _same("out", ".dtype", out.dtype, dtype, "q's")
        _check_memory("out", out, device)
    num_blocks = k_cache.shape[0]
    if num_blocks not in plan.checked:
        _check_blocks(plan, num_blocks)
        plan.checked.add(num_blocks)


def _same(name: str, what: str, value: Any, wanted: Any, whose: str) -> None:
    """FieldError unless an attribute has the wanted value."""
    if value != wanted:
        value, wanted = (tuple(x) if isinstance(x, torch.Size) else x for x in (value, wanted))
        raise FieldError(name + what, value, expected=f"{wanted}, {whose}")


def _check_memory(name: str, x: Tensor, device: torch.device) -> None:
    """FieldError unless x is contiguous and on q's device."""
    _same(name, ".device", x.device, device, "q's")
    if not x.is_contiguous():
        raise FieldError(f"{name}.stride()", x.stride(), expected=f"contiguous {list(x.shape)}",
                         hint="Call contiguous() on it.")


def _check_heads(name: str, x: Tensor, shape: tuple[int, ...]) -> None:
    """FieldError unless the heads of each token of x, [.., H, D], lie together. Size 1: any stride."""
    stride = x.stride()
    if (stride[2] != 1 and shape[2] > 1) or (stride[1] != shape[2] and shape[1] > 1):
        raise FieldError(f"{name}.stride()", stride, expected=f"(any, {shape[2]}, 1), a token's heads together",
                         hint="Call contiguous() on it.")


def _check_caches(shape: torch.Size, dtype: torch.dtype, device: torch.device, k_cache: Tensor, v_cache: Tensor,
                  plan: AttentionPlan) -> None:
    """FieldError unless the caches fit q and the plan. shape, dtype, device: those of q."""
    heads, head_dim, stored, sizes = shape[1], shape[2], k_cache.dtype, k_cache.shape
    if stored not in KINDS or (stored.itemsize > 1 and stored != dtype):
        raise FieldError("k_cache.dtype", stored, expected=f"{dtype}, q's, or 8 bits")
    if len(sizes) != 4 or not sizes[1] or heads % sizes[1]:
        raise FieldError("k_cache.shape", tuple(sizes), expected=f"[B, Hkv, P, R] with {heads} a multiple of Hkv")
    wanted = cache_shape(sizes[0], sizes[1], plan.block_size, head_dim, stored)
    _same("k_cache", ".shape", sizes, wanted, "by q's heads and the plan's block_size")
    _check_memory("k_cache", k_cache, device)
    _same("v_cache", ".shape", v_cache.shape, wanted, "k_cache's")
    _same("v_cache", ".dtype", v_cache.dtype, stored, "k_cache's")
    _check_memory("v_cache", v_cache, device)


def _check_new(name: str, x: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    """FieldError unless x, the step's new keys or values, has the shape [N, Hkv, D]; None fits a plan without slots."""
    if x is None:
        if shape[0]:
            raise FieldError(name, None, expected=f"{shape[0]} new keys and values: the plan has slots for them")
        return
    _same(name, ".shape", x.shape, shape, "the plan's slots and the cache's heads")
    _same(name, ".dtype", x.dtype, dtype, "q's")
    _same(name, ".device", x.device, device, "q's")
    _check_heads(name, x, shape)


def _check_numbers(name: str, x: Tensor, shape: tuple[int, ...], device: torch.device) -> None:
    _same(name, ".shape", x.shape, shape, "a row for each query head; distances -M to M are an odd number"
          if len(shape) > 1 else "one for each query head")
    _same(name, ".dtype", x.dtype, torch.float32, "whatever the model's type")
    _check_memory(name, x, device)


def _check_blocks(plan: AttentionPlan, num_blocks: int) -> None:
    """FieldError unless the plan's slots, and all blocks that its queries see, lie in a cache of num_blocks blocks."""
    slots, table, size, num_seqs = plan.slots, plan.table, plan.block_size, len(plan.seq_lens)
    if table.shape[0] != num_seqs or len(plan.query_lens) != num_seqs:
        raise FieldError("plan.table.shape", table.shape, expected=f"[{num_seqs}, M], a row for each of seq_lens")
    decodes = plan.query_lens[: plan.num_decodes]
    if any(queries != 1 for queries in decodes):
        raise FieldError("plan.query_lens", plan.query_lens,
                         expected=f"1 for the first {plan.num_decodes}, num_decodes")
    wrong = np.flatnonzero((slots < 0) | (slots >= num_blocks * size))
    if len(wrong):
        raise FieldError(f"plan.slots[{wrong[0]}]", int(slots[wrong[0]]), expected=f"0 to {num_blocks * size - 1}")
    ranges, seqs = plan.key_ranges, np.repeat(np.arange(num_seqs), plan.query_lens)
    sees = ranges.first < ranges.end
    low, high = np.full(num_seqs, np.iinfo(np.int32).max), np.zeros(num_seqs, dtype=np.int64)
    np.minimum.at(low, seqs[sees], ranges.first[sees] // size)
    np.maximum.at(high, seqs[sees], -(-ranges.end[sees] // size))
    least = plan.query_lens if plan.ranges is None else np.zeros(num_seqs)
    wrong = np.flatnonzero((np.asarray(plan.seq_lens) < least) | (high > table.shape[1]))
    if len(wrong):
        seq = int(wrong[0])
        raise FieldError(f"plan.seq_lens[{seq}]", plan.seq_lens[seq],
                         expected=f"{int(least[seq])} (its queries) to {table.shape[1] * size}, what its row of the "
                                  "block table holds")
    column = np.arange(table.shape[1])
    seen = (column >= low[:, None]) & (column < high[:, None])
    bad = np.argwhere(seen & ((table < 0) | (table >= num_blocks)))
    if len(bad):
        seq, block = map(int, bad[0])
        raise FieldError(f"plan.table[{seq}, {block}]", int(table[seq, block]),
                         expected=f"a block, 0 to {num_blocks - 1}")

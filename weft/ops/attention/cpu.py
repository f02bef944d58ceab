"""Paged attention by weft's native kernel (csrc/attention.h).

Bound: decode reads the cached keys and values once, at the speed of memory; a prompt runs at the speed of the level's
products (`benchmarks/attention.py` prints both fractions). Each row is bitwise the same in any company.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from weft.ops.attention.params import AttentionParams
from weft.ops.attention.plan import AttentionPlan
from weft.ops.native import DTYPES, extension, kernels

BLOCK_SIZE = 16                # tokens; csrc/attention_args.h
SPLIT_QUERIES = 16             # so many of a sequence, or fewer, are split by segments; csrc/attention.h
THREAD_BYTES = 1 << 20         # of a thread, for the rows that it works on
_SEGMENT, _STATE_VALUES = 512, 32                            # tokens of a segment; csrc/attention_rows.h
_MAX_HEAD_DIM = 256
# The numbers by which csrc/attention_args.h knows how a cache is stored.
_KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float8_e4m3fn: 3, torch.float8_e5m2: 4,
          torch.int8: 5}


def refuses(dtype: torch.dtype, kv_dtype: torch.dtype, head_dim: int, block_size: int) -> str | None:
    """Why the kernel cannot run a layer on a processor that has native kernels."""
    if dtype not in DTYPES:
        return f"{dtype}"
    if kv_dtype not in _KINDS or (kv_dtype.itemsize > 1 and kv_dtype != dtype):
        return f"{kv_dtype} cache of a {dtype} model"
    if head_dim % 2 or head_dim > _MAX_HEAD_DIM:
        return f"head_dim {head_dim}: not an even number up to {_MAX_HEAD_DIM}"
    return None if block_size == BLOCK_SIZE else f"block_size {block_size}: not {BLOCK_SIZE}"


def state_bytes(num_heads: int, head_dim: int, num_tokens: int) -> float:
    """Memory for a query's states beside so many tokens of its sequence: one for each head and segment."""
    return num_heads * 4 * (_STATE_VALUES + -(-head_dim // 16) * 16) * num_tokens / _SEGMENT


def make_run(isa: str) -> Callable[..., Tensor]:
    """`run` with the contract of `reference.run`, by the kernels of a level."""
    table, cache_of = kernels(isa), extension().kv_cache

    def run(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, plan: AttentionPlan,
            params: AttentionParams, out: Tensor | None = None) -> Tensor:
        dtype, step = DTYPES[q.dtype], plan.native
        cache = cache_of(k_cache.data_ptr(), v_cache.data_ptr(), _KINDS[k_cache.dtype], k_cache.shape[0],
                         k_cache.shape[1], q.shape[2])
        table.write_cache(cache, step, k.data_ptr(), v.data_ptr(), dtype, k.stride(0))
        if out is None:
            out = torch.empty(q.shape, dtype=q.dtype)
        alibi = params.alibi
        table.attention(step, cache, q.data_ptr(), dtype, q.stride(0), q.shape[1], params.scale, params.softcap or 0.0,
                        *((0, 1.0, False) if alibi is None else
                          (alibi.slopes.data_ptr(), alibi.scale, alibi.is_bfloat16)),
                        0 if params.sinks is None else params.sinks.data_ptr(), out.data_ptr())
        return out

    return run

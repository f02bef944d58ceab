"""Paged attention by weft's native kernel (csrc/attention.h).

Bound: decode reads the cached keys and values once, at memory bandwidth; prefill runs at the speed of the ISA level's
products (`benchmarks/attention.py` prints both fractions). A row's bits do not depend on the other rows of the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from weft.ops.attention.params import AttentionParams
from weft.ops.attention.plan import AttentionPlan
from weft.ops.attention.shared_prefix import BLOCK_SIZE
from weft.ops.native import DTYPES, extension, kernels

# Constants of csrc/limits.h, repeated because plans are made without the extension too (tests/ops/test_limits.py).
SPLIT_QUERIES = 16             # sequences with at most this many queries are split along the keys (flash-decoding)
SEGMENT, STATE_VALUES = 512, 32            # tokens of a segment; floats of its state besides the weighted values
MAX_HEAD_DIM, MAX_LATENT_DIM = 256, 576     # of keys beside values; of latents, which are both
THREAD_BYTES = 1 << 20         # scratch memory of a thread, in bytes
# The kernels' numbers of cache formats, KvKind in csrc/attention_args.h.
KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float8_e4m3fn: 3, torch.float8_e5m2: 4,
         torch.int8: 5}


def refuses(dtype: torch.dtype, kv_dtype: torch.dtype, head_dim: int, block_size: int,
            value_dim: int | None = None) -> str | None:
    """Why the native kernel cannot run a layer; None when it can."""
    if dtype not in DTYPES:
        return f"{dtype}"
    if kv_dtype not in KINDS or (kv_dtype.itemsize > 1 and kv_dtype != dtype):
        return f"{kv_dtype} cache of a {dtype} model"
    most = MAX_HEAD_DIM if value_dim is None else MAX_LATENT_DIM
    if head_dim % 2 or head_dim > most:
        return f"head_dim {head_dim}: not an even number up to {most}"
    if value_dim is not None and value_dim % 2:
        return f"value_dim {value_dim}: not an even number"
    return None if block_size == BLOCK_SIZE else f"block_size {block_size}: not {BLOCK_SIZE}"


def state_bytes(num_heads: int, value_dim: int, num_tokens: int) -> float:
    """Bytes of the segment states (split-KV partials) of one query over num_tokens keys."""
    return num_heads * 4 * (STATE_VALUES + -(-value_dim // 16) * 16) * num_tokens / SEGMENT


def make_run(isa: str) -> Callable[..., Tensor]:
    """The kernel of an ISA level, with the contract of `reference.run`."""
    table, cache_of = kernels(isa), extension().kv_cache

    def run(q: Tensor, k: Tensor | None, v: Tensor | None, k_cache: Tensor, v_cache: Tensor | None, plan: AttentionPlan,
            params: AttentionParams, out: Tensor | None = None) -> Tensor:
        dtype, step = DTYPES[q.dtype], plan.native
        value_dim = params.value_dim or q.shape[2]
        cache = cache_of(k_cache.data_ptr(), 0 if v_cache is None else v_cache.data_ptr(), KINDS[k_cache.dtype],
                         k_cache.shape[0], k_cache.shape[1], q.shape[2], value_dim)
        if k is not None:
            table.write_cache(cache, step, k.data_ptr(), 0 if v is None else v.data_ptr(), dtype, k.stride(0),
                              0 if v is None else v.stride(0))
        if not plan.query_lens:
            return q
        if out is None:
            out = torch.empty(*q.shape[:2], value_dim, dtype=q.dtype)
        alibi, by_distance, sinks = params.alibi, params.bias_by_distance, params.sinks
        table.attention(step, cache, q.data_ptr(), dtype, q.stride(0), q.shape[1], params.scale, params.softcap or 0.0,
                        *((0, 1.0, False) if alibi is None else
                          (alibi.slopes.data_ptr(), alibi.scale, alibi.is_bfloat16)),
                        *((0, 0) if by_distance is None else (by_distance.data_ptr(), by_distance.shape[1] // 2)),
                        0 if sinks is None else sinks.data_ptr(), out.data_ptr())
        return out

    return run

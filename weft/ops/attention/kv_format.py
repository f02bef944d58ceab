"""How keys and values are cached: as the model's floats, as floats of 8 bits, or as integers with a scale.

A cache is [B, Hkv, P, R]: R is D, or for int8 D + 4, a float32 scale after each row's codes. The tensor's type names
the format. Within a block of a head a kernel may order the numbers as it likes (csrc/attention_args.h does); only who
writes a cache reads it.
"""

from __future__ import annotations

import torch
from torch import Tensor

# kv_cache_dtype -> type of the cache.
KV_DTYPES = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2, "int8_per_token_head": torch.int8,
}
_SCALE_BYTES = 4
_LEAST = 1e-30                 # largest number of a row at least, for its scale


def cache_shape(num_blocks: int, kv_heads: int, block_size: int, head_dim: int, dtype: torch.dtype) -> tuple[int, ...]:
    """[B, Hkv, P, R]."""
    return num_blocks, kv_heads, block_size, head_dim + (_SCALE_BYTES if dtype == torch.int8 else 0)


def encode(x: Tensor, dtype: torch.dtype) -> Tensor:
    """[n, D] floats as rows of a cache, [n, R] of `dtype`.

    Floats of 8 bits: to nearest even, what is too large becomes the largest. int8: codes are x / scale to nearest even,
    scale = max |x| / 127.
    """
    if dtype == torch.int8:
        scale = x.float().abs().amax(-1, keepdim=True).clamp(min=_LEAST) / 127
        codes = (x.float() / scale).round().nan_to_num().to(torch.int8)
        return torch.cat((codes, scale.view(torch.int8)), -1)
    if dtype.itemsize == 1:
        largest = torch.finfo(dtype).max
        return x.float().clamp(-largest, largest).to(dtype)
    return x.to(dtype)


def decode(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """[..., R] rows of a cache as [..., D] of a float type."""
    if rows.dtype == torch.int8:
        scale = rows[..., -_SCALE_BYTES:].contiguous().view(torch.float32)
        return (rows[..., :-_SCALE_BYTES].float() * scale).to(dtype)
    return rows.to(dtype)

"""Formats of cached keys and values: the model's floats, 8-bit floats, or 8-bit integers with a scale.

A cache is [B, Hkv, P, R]. R is D; for int8 R is D + 4: a float32 scale follows each row's codes (quantized values). The
tensor's dtype names the format. A kernel may order the numbers within a head's block as it likes
(csrc/attention_args.h does), because only the kernel that writes a cache reads it.
"""

from __future__ import annotations

import torch
from torch import Tensor

# kv_cache_dtype -> dtype of the cache.
KV_DTYPES = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2, "int8_per_token_head": torch.int8,
}
_SCALE_BYTES = 4
_LEAST = 1e-30                 # lower bound of a row's max |x|, so that its scale is never 0


def cache_shape(num_blocks: int, kv_heads: int, block_size: int, head_dim: int, dtype: torch.dtype) -> tuple[int, ...]:
    """[B, Hkv, P, R], the shape of a cache of keys or of values."""
    return num_blocks, kv_heads, block_size, head_dim + (_SCALE_BYTES if dtype == torch.int8 else 0)


def encode(x: Tensor, dtype: torch.dtype) -> Tensor:
    """[n, D] floats as rows of a cache, [n, R] of `dtype`.

    8-bit floats: rounded to nearest even; numbers that are too large become the largest. int8: codes are x / scale,
    rounded to nearest even, with scale = max |x| / 127.
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
        scale = rows[..., -_SCALE_BYTES:].clone(memory_format=torch.contiguous_format).view(torch.float32)
        return (rows[..., :-_SCALE_BYTES].float() * scale).to(dtype)
    return rows.to(dtype)

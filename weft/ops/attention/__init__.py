"""Attention over the paged KV cache.

An `AttentionCase` holds what a layer knows when it is built. `attention_plan` makes what a step needs once for all
layers of a cache group. A kernel runs `run(q, k, v, k_cache, v_cache, plan, params)`. The mask of a plan is its
`KeyRanges`; `ranges.py` makes them for each kind of mask. `reference.py` is the definition, `cpu.py` weft's kernel;
`check_attention` checks calls whose tensors come from foreign code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from weft.ops.attention import cpu, matmul, ranges, reference, sdpa
from weft.ops.attention.by_piece import by_piece
from weft.ops.attention.check import check_attention
from weft.ops.attention.kv_format import KV_DTYPES, cache_shape
from weft.ops.attention.params import AlibiBias, AttentionParams, RelativeTerms, alibi_slopes
from weft.ops.attention.plan import AttentionPlan, attention_plan
from weft.ops.attention.ranges import KeyRanges
from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.native import unavailable

__all__ = [
    "KV_DTYPES", "AlibiBias", "AttentionCase", "AttentionParams", "AttentionPlan", "KeyRanges",
    "RelativeTerms", "alibi_slopes", "attention_plan", "cache_shape", "check_attention", "choose_attention", "ranges",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCase:
    """The properties that decide which kernel an attention layer can run.

    isa: ISA level of the native kernels, or "reference". cache_dtype: None for the model's dtype. block_size: tokens.
    value_dim: as in AttentionParams.
    """

    device: str
    dtype: torch.dtype
    head_dim: int
    softcap: bool
    alibi: bool
    sinks: bool = False
    relative: bool = False
    isa: str = "reference"
    cache_dtype: torch.dtype | None = None
    block_size: int = 16
    value_dim: int | None = None


def _native_refuses(case: AttentionCase) -> str | None:
    if case.relative:
        return "no products with vectors for distances"
    return unavailable(case.device, case.isa) or cpu.refuses(
        case.dtype, case.cache_dtype or case.dtype, case.head_dim, case.block_size, case.value_dim)


def _matmul_refuses(case: AttentionCase) -> str | None:
    if case.sinks:
        return "no sinks"
    if case.device == "cpu" and case.dtype == torch.float16 and not case.softcap:
        return "float16 products are slow on CPUs"
    return None


def _sdpa_refuses(case: AttentionCase) -> str | None:
    if case.sinks:
        return "no sinks"
    if case.relative:
        return "no products with vectors for distances"
    return "no soft cap" if case.softcap else None


def _native_run(case: AttentionCase) -> Callable[..., Tensor] | None:
    return None if unavailable(case.device, case.isa) else cpu.make_run(case.isa)


def choose_attention(case: AttentionCase) -> Choice:
    """The kernel for a layer."""
    return choose("attention", (
        Kernel("native", _native_run(case), _native_refuses),
        Kernel("matmul", by_piece(matmul.attend), _matmul_refuses),
        Kernel("sdpa", by_piece(sdpa.attend), _sdpa_refuses),
        Kernel("reference", reference.run, never),
    ), case)

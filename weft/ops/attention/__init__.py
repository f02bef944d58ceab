"""Attention over the paged cache.

`AttentionCase` is what a layer knows when it is built, `attention_plan` what a step needs once for all layers of a
cache group, and a kernel runs `run(q, k, v, k_cache, v_cache, plan, params)`. `reference.py` is the definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from weft.ops.attention import matmul, reference, sdpa
from weft.ops.attention.by_piece import by_piece
from weft.ops.attention.params import AlibiBias, AttentionParams, alibi_slopes
from weft.ops.attention.plan import AttentionPlan, attention_plan
from weft.ops.kernel import Choice, Kernel, choose, never

__all__ = [
    "AlibiBias", "AttentionCase", "AttentionParams", "AttentionPlan",
    "alibi_slopes", "attention_plan", "choose_attention",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCase:
    """What decides which kernel an attention layer can run."""

    device: str
    dtype: torch.dtype
    head_dim: int
    softcap: bool
    alibi: bool


def _matmul_refuses(case: AttentionCase) -> str | None:
    if case.device == "cpu" and case.dtype == torch.float16 and not case.softcap:
        return "float16 products are slow on CPUs"
    return None


def _sdpa_refuses(case: AttentionCase) -> str | None:
    return "no soft cap" if case.softcap else None


_KERNELS = (
    Kernel("matmul", by_piece(matmul.attend), _matmul_refuses),
    Kernel("sdpa", by_piece(sdpa.attend), _sdpa_refuses),
    Kernel("reference", reference.run, never),
)


def choose_attention(case: AttentionCase) -> Choice:
    """The kernel for a layer."""
    return choose("attention", _KERNELS, case)

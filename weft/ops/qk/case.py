"""What an attention layer does to q, k and v before it attends."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from weft.ops.norm.options import NormOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class QKCase:
    """In this order: clip, norm, rotation.

    clip: q, k and v are clamped to [-clip, clip]; None: not.
    norm: of q and k, None for none; scope: "head" (one weight [D]), "each_head" ([H, D]) or "all" ([H * D], over all
        heads together).
    half: pairs of a head that turn, 0 for none; interleaved: pairs (2i, 2i + 1), else (i, i + half).
    """

    device: str
    dtype: torch.dtype
    num_heads: int
    num_kv_heads: int
    head_dim: int
    clip: float | None = None
    norm: NormOptions | None = None
    scope: str = "head"
    half: int = 0
    interleaved: bool = False
    isa: str = "reference"

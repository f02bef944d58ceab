"""`QKCase`: the norms, clip and rotation that an attention layer applies to q, k and v."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from weft.ops.norm.options import NormOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class QKCase:
    """Norm, clip and rotation, in this order.

    clip: q, k and v are clamped to [-clip, clip]; None for no clip.
    norm: norm of q and k, None for none. scope: "head" (one weight [D] for all heads), "each_head" (weights [H, D]) or
        "all" (weight [H * D], one norm over all heads together).
    half: pairs of a head that are rotated, 0 for none. interleaved: pairs (2i, 2i + 1), else (i, i + half).
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

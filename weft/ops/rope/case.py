"""`RopeCase`: the rotation that a layer applies to q and k."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeCase:
    """The properties that decide which kernel rotates a layer's q and k.

    half: pairs of a head that are rotated. interleaved: pairs (2i, 2i + 1), else (i, i + half).
    """

    device: str
    dtype: torch.dtype
    head_dim: int
    half: int
    interleaved: bool = False
    isa: str = "reference"

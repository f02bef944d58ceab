"""Rotary position embedding (RoPE) of q and k in torch, in place: the definition, which ops/qk's torch kernel calls."""

from __future__ import annotations

from torch import Tensor


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool) -> None:
    """Rotate the first dimensions of each head, in place.

    Args:
        x: [T, heads, D], any strides; modified.
        cos, sin: [T, 1, R / 2] in x's dtype; R <= D dimensions are rotated.
        interleaved: pairs are dimensions (2i, 2i + 1), else (i, i + R / 2).
    Source: arXiv:2104.09864.
    """
    half = cos.shape[-1]
    if interleaved:
        first, second = x[..., 0 : 2 * half : 2], x[..., 1 : 2 * half : 2]
    else:
        first, second = x[..., :half], x[..., half : 2 * half]
    first_sin, second_sin = first * sin, second * sin
    first.mul_(cos).sub_(second_sin)
    second.mul_(cos).add_(first_sin)

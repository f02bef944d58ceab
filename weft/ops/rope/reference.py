"""The definition of rotary position embedding (RoPE), in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.rope.case import RopeCase


class ReferenceRope:
    """Rotation of q and k by the angles of their tokens."""

    def __init__(self, case: RopeCase) -> None:
        self.case = case

    def __call__(self, q: Tensor, k: Tensor | None, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
        """q [T, H, D] and k [T, Hkv, D], any strides -> the rotated ones, newly allocated and contiguous.

        angles: cos and sin, [T, half] float32 each, contiguous.
        """
        cos, sin = (x.to(q.dtype).unsqueeze(1) for x in angles)
        return self._rotated(q, cos, sin), None if k is None else self._rotated(k, cos, sin)

    def _rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        out = x.clone(memory_format=torch.contiguous_format)
        apply_rope(out, cos, sin, interleaved=self.case.interleaved)
        return out


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

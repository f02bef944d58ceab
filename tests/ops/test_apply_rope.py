"""Rotation against hand-written arithmetic."""

import math

import pytest
import torch

from weft.ops.rope import apply_rope


@pytest.mark.parametrize("interleaved", [False, True])
def test_rope_turns_each_pair_by_its_angle_and_leaves_the_rest(interleaved):
    torch.manual_seed(0)
    x = torch.randn(3, 2, 10)
    angle = torch.rand(3, 1, 3)
    rotated = x.clone()

    apply_rope(rotated, angle.cos(), angle.sin(), interleaved=interleaved)

    for token in range(3):
        for pair in range(3):
            i, j = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + 3)
            cos, sin = math.cos(angle[token, 0, pair]), math.sin(angle[token, 0, pair])
            torch.testing.assert_close(rotated[token, :, i], x[token, :, i] * cos - x[token, :, j] * sin)
            torch.testing.assert_close(rotated[token, :, j], x[token, :, j] * cos + x[token, :, i] * sin)
    torch.testing.assert_close(rotated[..., 6:], x[..., 6:])

"""Norms, rotation, experts: kernels against their definitions, definitions against hand-written arithmetic."""

import math

import pytest
import torch

from weft.errors import ConfigError
from weft.ops.activation import activation
from weft.ops.norm import NormCase, choose_rms_norm, fused
from weft.ops.norm import reference as norm_reference
from weft.ops.rope import apply_rope


@pytest.mark.parametrize("shape", [(1, 7), (5, 64), (3, 4, 20), (1000, 301), (70, 16, 130)], ids=str)
def test_fused_rms_norm_is_the_definition(shape):
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(shape[-1])

    torch.testing.assert_close(
        fused.rms_norm(x, weight, 1e-5, 0.0, True), norm_reference.rms_norm(x, weight, 1e-5, 0.0, True)
    )


def test_rms_norm_with_a_weight_for_each_head_norms_each_head_alone():
    torch.manual_seed(0)
    x, weight = torch.randn(3, 4, 20), torch.randn(4, 20)
    heads = [norm_reference.rms_norm(x[:, h], weight[h], 1e-5, 0.0, True) for h in range(4)]

    torch.testing.assert_close(fused.rms_norm(x, weight, 1e-5, 0.0, True), torch.stack(heads, dim=1))


def test_an_offset_norm_is_computed_by_the_reference_because_its_weight_is_stored_minus_one():
    choice = choose_rms_norm(NormCase(device="cpu", has_offset=True))
    x = torch.tensor([[3.0, 4.0]])

    out = choice.run(x, torch.tensor([0.0, 1.0]), 0.0, 1.0, False)

    assert choice.kernel.name == "reference"
    torch.testing.assert_close(out, torch.tensor([[3.0, 8.0]]) / math.sqrt(12.5))


@pytest.mark.parametrize("has_weight", [True, False])
def test_fused_layer_norm_is_the_definition(has_weight):
    torch.manual_seed(0)
    x = torch.randn(5, 33)
    weight, bias = (torch.randn(33), torch.randn(33)) if has_weight else (None, None)

    torch.testing.assert_close(
        fused.layer_norm(x, weight, bias, 1e-5), norm_reference.layer_norm(x, weight, bias, 1e-5)
    )


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


def test_an_unknown_activation_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"hidden_act = 'softsign': expected one of .*silu"):
        activation("softsign")

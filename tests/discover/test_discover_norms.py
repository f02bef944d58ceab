"""Norms are told apart by their numbers, their epsilon and their rounding too."""

import pytest
import torch
from torch import nn

from weft.architectures.reader import ConfigReader
from weft.architectures.spec import LayerNorm, RMSNorm
from weft.discover.no_part import NoPartError
from weft.discover.norms import find_norm
from weft.discover.traced import Leaf


class OffsetNorm(nn.Module):
    """RMSNorm whose weight is stored minus 1, multiplied before rounding."""

    def __init__(self, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.randn(16) * 0.3), eps

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * (1.0 + self.weight.float())).to(x.dtype)


class CubicNorm(OffsetNorm):
    def forward(self, x):
        return super().forward(x) ** 3


def leaf(module):
    x = torch.randn(40, 16)
    return Leaf("norm", module, x, module(x).detach(), (1, 40, 16))


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_an_offset_an_epsilon_and_the_order_of_rounding_are_found(eps):
    found = find_norm(leaf(OffsetNorm(eps)), ConfigReader({}))

    assert found == RMSNorm(eps=eps, offset=1.0, cast_before_weight=False)


def test_a_layer_norm_without_a_bias_is_found():
    module = nn.LayerNorm(16, eps=1e-5, bias=False)
    nn.init.normal_(module.weight)

    assert find_norm(leaf(module), ConfigReader({})) == LayerNorm(eps=1e-5, has_bias=False)


def test_a_norm_without_a_part_is_named_with_the_nearest():
    with pytest.raises(NoPartError, match=r"norm.*like CubicNorm.*Nearest: .*differs by"):
        find_norm(leaf(CubicNorm(1e-5)), ConfigReader({}))

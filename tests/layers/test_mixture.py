"""A mixture of experts adds to the residual stream what it makes of its input, also where the two are one tensor."""

import pytest
import torch

from weft.architectures.spec import MLPSpec, MoESpec
from weft.layers.context import LayerContext
from weft.layers.layer import Layer, allocate
from weft.layers.mlp import MoE

EXPERT = MLPSpec(intermediate_size=32, act="silu", gated=True)
SPECS = {
    "routed": MoESpec(num_experts=4, num_experts_per_token=2, expert=EXPERT),
    "shared": MoESpec(num_experts=4, num_experts_per_token=2, expert=EXPERT, shared=EXPERT, scale=0.5),
    "shared-gated": MoESpec(num_experts=4, num_experts_per_token=2, expert=EXPERT, shared=EXPERT, shared_gate=True),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@torch.inference_mode()
def test_the_residual_may_be_the_input(spec):
    moe, random = MoE(spec, 64, context=LayerContext(torch.float32)), torch.Generator().manual_seed(0)
    allocate(moe, "cpu")
    for home in moe.homes().values():
        home.view.normal_(std=0.2, generator=random)
    for layer in (module for module in moe.modules() if isinstance(module, Layer)):
        layer.finish_loading()
    x = torch.randn(5, 64, generator=random)
    wanted = x + 0.25 * moe(x.clone())

    out = moe(x, x, 0.25)

    assert out is x
    torch.testing.assert_close(out, wanted)

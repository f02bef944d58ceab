"""Activations of programmed models are Transformers' functions of the same names, or the formulas of their papers."""

import pytest
import torch
import torch.nn.functional as F
from public_layers import TOLERANCE, contexts, loaded, numbers
from transformers.activations import ACT2FN

from weft.errors import ConfigError
from weft.layers.public import (
    FatreluAndMul,
    MulAndSilu,
    SiluAndMulWithClamp,
    SwigluOAIAndMul,
    get_act_and_mul_fn,
    get_act_fn,
)

NAMES = ["gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "relu", "relu2", "silu", "swish", "quick_gelu", "tanh",
         "sigmoid"]


def swigluoai(x):
    gate, up = x[..., ::2].clamp(max=7), x[..., 1::2].clamp(-7, 7)
    return (up + 1) * gate * torch.sigmoid(1.702 * gate)


GATED = {
    "silu": lambda g, u: F.silu(g) * u, "swish": lambda g, u: F.silu(g) * u, "gelu": lambda g, u: F.gelu(g) * u,
    "geglu": lambda g, u: F.gelu(g) * u, "gelu_pytorch_tanh": lambda g, u: F.gelu(g, approximate="tanh") * u,
    "fatrelu": lambda g, u: F.relu(g) * u,
}


def close(found, wanted, dtype):
    torch.testing.assert_close(found.float(), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@contexts
@pytest.mark.parametrize("name", NAMES)
def test_activations_by_name(context, name):
    x = numbers((5, 7), context.dtype) * 6
    close(loaded(lambda: get_act_fn(name), context)(x), ACT2FN[name](x.float()), context.dtype)


@contexts
@pytest.mark.parametrize("name", GATED)
def test_gated_activations_by_name(context, name):
    x = numbers((5, 34), context.dtype) * 4
    close(loaded(lambda: get_act_and_mul_fn(name), context)(x), GATED[name](*x.float().chunk(2, -1)), context.dtype)


def test_an_activation_by_torchs_path_and_with_capitals():
    x = numbers((3, 4), torch.float32)
    assert torch.equal(get_act_fn("torch.nn.modules.activation.GELU")(x), F.gelu(x))
    assert isinstance(get_act_fn("torch.nn.modules.activation.LeakyReLU"), torch.nn.LeakyReLU)
    assert get_act_fn("SiLU").act == "silu"


@contexts
def test_the_other_gates(context):
    x = numbers((5, 32), context.dtype) * 20
    first, second = x.float().chunk(2, -1)
    close(loaded(MulAndSilu, context)(x), first * F.silu(second), context.dtype)
    close(FatreluAndMul(0.5)(x), torch.where(first > 0.5, first, 0) * second, context.dtype)
    close(SwigluOAIAndMul()(x), swigluoai(x.float()), context.dtype)
    close(SiluAndMulWithClamp(3.0)(x), F.silu(first.clamp(max=3)) * second.clamp(-3, 3), context.dtype)


def test_xielu_loads_and_computes_as_transformers_does():
    theirs = ACT2FN["xielu"].float()
    theirs.alpha_p.data.fill_(0.3)
    ours, x = get_act_fn("xielu"), numbers((4, 9), torch.float32) * 4

    ours.load_state_dict(theirs.state_dict())

    torch.testing.assert_close(ours(x), theirs._xielu_python(x).detach())


@pytest.mark.parametrize("find", [get_act_fn, get_act_and_mul_fn])
def test_an_unknown_name_is_refused_with_the_known_ones(find):
    with pytest.raises(ConfigError, match=r"'sillu': expected one of .*gelu_pytorch_tanh.*silu"):
        find("sillu")


def test_an_odd_number_of_columns_has_no_halves():
    with pytest.raises(ValueError, match=r"SwigluOAIAndMul: x is \[2, 5\], expected an even number"):
        SwigluOAIAndMul()(torch.ones(2, 5))

"""The vector functions are accurate, and activations by the native kernel are torch's."""

import pytest
import torch
from isa_levels import native_levels

from weft.errors import ConfigError
from weft.ops.activation import ACTIVATIONS, ActivationCase, activation, choose_activation
from weft.ops.native import kernels

levels = pytest.mark.parametrize("isa", native_levels())
floats = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16],
                                 ids=lambda d: str(d).removeprefix("torch."))
# Half a unit in the last place of results of order one (they are rounded once), and the functions' own errors.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}
FUNCTIONS = {"exp": (0, torch.exp), "tanh": (1, torch.tanh), "erf": (2, torch.erf), "sigmoid": (3, torch.sigmoid)}


def computed(isa, name, x):
    out = torch.full_like(x, torch.nan)
    kernels(isa).vector_function(FUNCTIONS[name][0], x.data_ptr(), x.numel(), out.data_ptr())
    return out


def native(isa, dtype, act, *, gated=False):
    choice = choose_activation(ActivationCase(device="cpu", dtype=dtype, act=act, gated=gated, isa=isa))
    assert choice.name == "native", str(choice)
    return choice.run


@levels
def test_exp_is_within_two_units_in_the_last_place(isa):
    x = torch.linspace(-87.3, 88.7, 100_003)
    exact = torch.exp(x.double())

    assert ((computed(isa, "exp", x) - exact) / exact).abs().max() < 2.4e-7


@levels
@pytest.mark.parametrize("name", ["tanh", "erf", "sigmoid"])
def test_bounded_functions_are_within_two_units_of_one(isa, name):
    x = torch.cat([torch.linspace(-20, 20, 100_003), torch.logspace(-30, 0, 999), -torch.logspace(-30, 0, 999)])

    assert (computed(isa, name, x) - FUNCTIONS[name][1](x.double())).abs().max() < 2.4e-7


@levels
def test_tanh_keeps_its_digits_near_zero(isa):
    x = torch.logspace(-30, 0, 9999)
    exact = torch.tanh(x.double())

    assert ((computed(isa, "tanh", x) - exact) / exact).abs().max() < 1e-6


@levels
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_give_limits_at_infinity_and_nan_for_nan(isa, name):
    x = torch.tensor([torch.inf, -torch.inf, torch.nan, 1000.0, -1000.0, 0.0] * 5)

    torch.testing.assert_close(computed(isa, name, x), FUNCTIONS[name][1](x), equal_nan=True, atol=2.4e-7, rtol=0)


@levels
@floats
@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_the_native_activation_is_the_definition(isa, dtype, act, gated):
    x = (3 * torch.randn(5, 2 * 83, generator=torch.Generator().manual_seed(0))).to(dtype)
    gate, up = x.double().chunk(2, dim=-1)
    exact = ACTIVATIONS[act](gate) * up if gated else ACTIVATIONS[act](x.double())

    out = native(isa, dtype, act, gated=gated)(x)

    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), exact, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@levels
def test_strided_rows_go_into_the_memory_that_is_given(isa):
    wide = torch.randn(7, 200, generator=torch.Generator().manual_seed(1))
    x, memory = wide[:, 10:110], torch.full((7, 90), torch.nan)

    out = native(isa, torch.float32, "silu", gated=True)(x, memory[:, :50])

    assert out.data_ptr() == memory.data_ptr()
    assert torch.isnan(memory[:, 50:]).all()
    assert torch.equal(out, native(isa, torch.float32, "silu", gated=True)(x.contiguous()))


@levels
@floats
def test_a_row_is_bitwise_the_same_alone_and_in_any_company(isa, dtype):
    x = torch.randn(37, 2 * 4099, generator=torch.Generator().manual_seed(2)).to(dtype)
    run = native(isa, dtype, "gelu", gated=True)
    together, order = run(x), torch.randperm(37, generator=torch.Generator().manual_seed(3))

    assert torch.equal(run(x[order]), together[order])
    assert all(torch.equal(run(x[i : i + 1])[0], together[i]) for i in range(37))


def test_without_native_kernels_torch_computes():
    choice = choose_activation(ActivationCase(device="cpu", dtype=torch.float32, act="silu", gated=True))
    x = torch.randn(3, 8)

    assert str(choice) == "torch (native: cpu_isa is reference)"
    assert torch.equal(choice.run(x), torch.nn.functional.silu(x[:, :4]) * x[:, 4:])


def test_an_unknown_activation_is_an_error_that_lists_the_known():
    with pytest.raises(ConfigError, match=r"hidden_act = 'swosh'.*silu"):
        activation("swosh")

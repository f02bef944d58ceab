"""Every kernel of the mixture computes what the definition says, and each token as if it were alone."""

import pytest
import torch
from isa_levels import native_levels

from weft.ops.moe import MoECase, Routing, choose_moe
from weft.ops.moe.grouped import GroupedExperts
from weft.ops.moe.reference import ReferenceExperts

# One rounding of the middle and one of the end, of results of order one.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
levels = pytest.mark.parametrize("isa", native_levels())
floats = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def matrices(dtype, *, experts=7, hidden=70, inner=64):
    return (random(experts, 2 * inner, hidden) / 8).to(dtype), (random(experts, hidden, inner, seed=1) / 8).to(dtype)


def native(isa, dtype, routing, quantization=None, **sizes):
    gate_up, down = matrices(dtype, **sizes)
    case = MoECase(device="cpu", dtype=dtype, hidden_size=down.shape[1], intermediate_size=down.shape[2],
                   act=routing.act, isa=isa, quantization=quantization)
    choice = choose_moe(case)
    assert choice.kernel.name == "native", str(choice)
    return choice.kernel.prepare(gate_up, down, routing)


def inputs(num_tokens, dtype, *, experts=7, hidden=70):
    return random(num_tokens, hidden, seed=2).to(dtype), (2 * random(num_tokens, experts, seed=3)).to(dtype)


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 9])
def test_grouping_tokens_by_expert_changes_nothing(renormalize, num_tokens):
    routing = Routing(top_k=3, renormalize=renormalize, act="silu")
    arguments = inputs(num_tokens, torch.float32)

    torch.testing.assert_close(GroupedExperts(*matrices(torch.float32), routing)(*arguments),
                               ReferenceExperts(*matrices(torch.float32), routing)(*arguments), atol=1e-5, rtol=1e-5)


@levels
@floats
@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 40])
def test_the_native_kernel_is_the_definition(isa, dtype, renormalize, num_tokens):
    routing = Routing(top_k=3, renormalize=renormalize, act="gelu")
    x, logits = inputs(num_tokens, dtype)

    out = native(isa, dtype, routing)(x, logits)

    exact = ReferenceExperts(*(m.double() for m in matrices(dtype)), routing)(x.float(), logits)
    torch.testing.assert_close(out.float(), exact, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@levels
@floats
@pytest.mark.parametrize("quantization", [None, "int8", "int4"])
def test_a_token_is_bitwise_the_same_alone_and_in_any_company(isa, dtype, quantization):
    experts = native(isa, dtype, Routing(top_k=2, renormalize=True, act="silu"), quantization, hidden=96)
    x, logits = inputs(60, dtype, hidden=96)
    together, order = experts(x, logits), torch.randperm(60, generator=torch.Generator().manual_seed(4))

    assert torch.equal(experts(x[order], logits[order]), together[order])
    assert all(torch.equal(experts(x[i : i + 1], logits[i : i + 1]), together[i : i + 1]) for i in range(60))


@levels
def test_a_residual_is_added_to_in_place_and_scaled(isa):
    experts = native(isa, torch.float32, Routing(top_k=2, renormalize=True, act="silu"))
    x, logits = inputs(5, torch.float32)
    residual = random(5, 70, seed=9)
    exact = residual + 0.5 * experts(x, logits)

    assert experts(x, logits, residual, 0.5) is residual
    torch.testing.assert_close(residual, exact)


@levels
def test_of_equally_likely_experts_the_first_are_taken(isa):
    experts = native(isa, torch.float32, Routing(top_k=2, renormalize=True, act="silu"))
    x, _ = inputs(3, torch.float32)
    apart = torch.full((3, 7), -50.0)
    apart[:, :2] = 0.0

    torch.testing.assert_close(experts(x, torch.zeros(3, 7)), experts(x, apart))


@levels
def test_inputs_of_another_dtype_or_shape_are_errors(isa):
    experts = native(isa, torch.float32, Routing(top_k=2, renormalize=True, act="silu"))
    x, logits = inputs(3, torch.float32)

    with pytest.raises(ValueError, match=r"both have to be torch\.float32"):
        experts(x.bfloat16(), logits)
    with pytest.raises(ValueError, match=r"router_logits is \[2, 7\], not \[3, 7\]"):
        experts(x, logits[:2])


@pytest.mark.skipif(not native_levels(), reason="no native kernels here")
@pytest.mark.parametrize("change, reason", [
    ({"intermediate_size": 48}, "experts of 64 x 48: not multiples of 2 and 32"),
    ({"act": "softsign"}, "activation softsign"),
    ({"isa": "reference"}, "cpu_isa is reference"),
], ids=str)
def test_what_the_native_kernel_cannot_do_it_refuses_with_the_reason(change, reason):
    base = {"device": "cpu", "dtype": torch.float32, "hidden_size": 64, "intermediate_size": 64, "act": "silu",
            "isa": "portable"}

    assert dict(choose_moe(MoECase(**(base | change))).refused)["native"] == reason

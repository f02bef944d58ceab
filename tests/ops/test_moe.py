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


ROUTINGS = {
    "softmax": {"renormalize": True},
    "not-renormalised": {"renormalize": False},
    "groups": {"renormalize": False, "num_groups": 4, "groups_per_token": 2},
    "sigmoid-groups-bias": {"renormalize": True, "scores": "sigmoid", "num_groups": 4, "groups_per_token": 2,
                            "group_best": 2, "choice_bias": torch.linspace(-0.4, 0.4, 8)},
    "sigmoid": {"renormalize": False, "scores": "sigmoid"},
}
routings = pytest.mark.parametrize("kind", ROUTINGS)


def routing_of(kind, *, act="silu"):
    return Routing(top_k=3, act=act, **ROUTINGS[kind])


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def matrices(dtype, *, experts=8, hidden=70, inner=64):
    return (random(experts, 2 * inner, hidden) / 8).to(dtype), (random(experts, hidden, inner, seed=1) / 8).to(dtype)


def native(isa, dtype, routing, quantization=None, **sizes):
    gate_up, down = matrices(dtype, **sizes)
    case = MoECase(device="cpu", dtype=dtype, hidden_size=down.shape[1], intermediate_size=down.shape[2],
                   act=routing.act, isa=isa, quantization=quantization)
    choice = choose_moe(case)
    assert choice.name == "native", str(choice)
    return choice.prepare(gate_up, down, routing)


def inputs(num_tokens, dtype, *, experts=8, hidden=70):
    return random(num_tokens, hidden, seed=2).to(dtype), (2 * random(num_tokens, experts, seed=3)).to(dtype)


def test_of_the_experts_in_the_best_groups_the_best_are_taken():
    logits = torch.tensor([[0.9, 0.0, 0.6, 0.5, 0.8, 0.7]]).log()                 # three groups of two
    one = Routing(top_k=2, renormalize=True, act="silu", num_groups=3, groups_per_token=1)
    two = Routing(top_k=2, renormalize=True, act="silu", num_groups=3, groups_per_token=1, group_best=2)

    assert one.route(logits)[1].tolist() == [[0, 1]], "the group with the best expert, though its other is the worst"
    assert two.route(logits)[1].tolist() == [[4, 5]], "the group whose two best have the largest sum"
    torch.testing.assert_close(two.route(logits)[0], torch.tensor([[8 / 15, 7 / 15]]))


def test_a_bias_changes_which_experts_are_taken_and_not_their_weights():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    routing = Routing(top_k=1, renormalize=False, act="silu", scores="sigmoid",
                      choice_bias=torch.tensor([0.9, 0.0, 0.0, 0.0]))

    weights, experts = routing.route(logits)

    assert experts.tolist() == [[0]]
    assert weights.tolist() == [[0.5]]


@routings
@pytest.mark.parametrize("num_tokens", [1, 9])
def test_grouping_tokens_by_expert_changes_nothing(kind, num_tokens):
    arguments = inputs(num_tokens, torch.float32)

    torch.testing.assert_close(GroupedExperts(*matrices(torch.float32), routing_of(kind))(*arguments),
                               ReferenceExperts(*matrices(torch.float32), routing_of(kind))(*arguments), atol=1e-5,
                               rtol=1e-5)


@levels
@floats
@routings
@pytest.mark.parametrize("num_tokens", [1, 40])
def test_the_native_kernel_is_the_definition(isa, dtype, kind, num_tokens):
    routing = routing_of(kind, act="gelu")
    x, logits = inputs(num_tokens, dtype)

    out = native(isa, dtype, routing)(x, logits)

    exact = ReferenceExperts(*(m.double() for m in matrices(dtype)), routing)(x.float(), logits)
    torch.testing.assert_close(out.float(), exact, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@levels
@floats
@pytest.mark.parametrize("kind", ["softmax", "sigmoid-groups-bias"])
@pytest.mark.parametrize("quantization", [None, "int8", "int4"])
def test_a_token_is_bitwise_the_same_alone_and_in_any_company(isa, dtype, quantization, kind):
    experts = native(isa, dtype, routing_of(kind), quantization, hidden=96)
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
    apart = torch.full((3, 8), -50.0)
    apart[:, :2] = 0.0

    torch.testing.assert_close(experts(x, torch.zeros(3, 8)), experts(x, apart))


@levels
def test_inputs_of_another_dtype_or_shape_are_errors(isa):
    experts = native(isa, torch.float32, Routing(top_k=2, renormalize=True, act="silu"))
    x, logits = inputs(3, torch.float32)

    with pytest.raises(ValueError, match=r"both have to be torch\.float32"):
        experts(x.bfloat16(), logits)
    with pytest.raises(ValueError, match=r"router_logits is \[2, 8\], not \[3, 8\]"):
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

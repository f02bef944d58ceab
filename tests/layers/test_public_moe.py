"""A public mixture of experts is the loop over each token's experts, for every way to choose them."""

import pytest
import torch
import torch.nn.functional as F
from public_layers import REFERENCE, TOLERANCE, contexts, given, loaded, made, numbers
from torch import nn

from weft.errors import ConfigError
from weft.layers.public import FusedMoE, SharedFusedMoE
from weft.ops.activation import gate

E, SIZE, X, TOKENS = 32, 64, 8, 5
BIAS = torch.linspace(-0.5, 0.5, X)


def moe(top_k=2, **options):
    return lambda: FusedMoE(num_experts=X, top_k=top_k, hidden_size=E, intermediate_size=SIZE, **options)


def looped(layer, x, weights, experts, act=lambda gate, up: F.silu(gate) * up):
    """The definition, in float32."""
    values = {name: value.float() for name, value in given(layer, torch.float32).items()}
    out = torch.zeros(len(x), E)
    for token, (row, ids) in enumerate(zip(weights, experts, strict=True)):
        for weight, expert in zip(row, ids.tolist(), strict=True):
            inner = values["w13_weight"][expert] @ x[token]
            if "w13_bias" in values:
                inner = inner + values["w13_bias"][expert]
            result = values["w2_weight"][expert] @ act(*inner.chunk(2))
            out[token] += weight * (result + values["w2_bias"][expert] if "w2_bias" in values else result)
    return out


def best(scores, choice=None, k=2, renormalize=True):
    experts = (scores if choice is None else choice).topk(k).indices
    weights = scores.gather(-1, experts)
    return weights / weights.sum(-1, keepdim=True) if renormalize else weights, experts


def in_groups(scores, count):
    """Scores with -inf outside the best 2 of 4 groups; a group's quality is the sum of its `count` best."""
    groups = scores.view(-1, 4, 2)
    kept = groups.topk(count).values.sum(-1).topk(2).indices
    return groups.masked_fill(~torch.zeros(len(scores), 4, dtype=torch.bool).scatter(1, kept, True)[..., None],
                              -torch.inf).flatten(1)


def second_and_third(*, hidden_states, gating_output, topk, renormalize):
    experts = gating_output.topk(3).indices[:, 1:]
    return torch.full(experts.shape, 0.25), experts


GROUPED = {"use_grouped_topk": True, "num_expert_group": 4, "topk_group": 2}
# name: (options, logits -> (weights, experts))
WAYS = {
    "softmax": ({}, lambda x: best(x.softmax(-1))),
    "not renormalized": ({"renormalize": False}, lambda x: best(x.softmax(-1), renormalize=False)),
    "sigmoid": ({"scoring_func": "sigmoid"}, lambda x: best(x.sigmoid())),
    "groups": (GROUPED, lambda x: best(x.softmax(-1), in_groups(x.softmax(-1), 1))),
    "correction": ({"scoring_func": "sigmoid", "e_score_correction_bias": BIAS},
                   lambda x: best(x.sigmoid(), x.sigmoid() + BIAS)),
    "groups with correction": (GROUPED | {"scoring_func": "sigmoid", "e_score_correction_bias": BIAS},
                               lambda x: best(x.sigmoid(), in_groups(x.sigmoid() + BIAS, 2))),
    "own function": ({"custom_routing_function": second_and_third},
                     lambda x: (torch.full((TOKENS, 2), 0.25), x.topk(3).indices[:, 1:])),
}


def close(found, wanted, context):
    tolerance = 20 * TOLERANCE[context.dtype]                 # sums of 64 products of size 1, twice
    torch.testing.assert_close(found.float(), wanted, rtol=tolerance, atol=tolerance)


def inputs(context):
    logits = numbers((TOKENS, X), torch.float32, seed=8) * 4
    return numbers((TOKENS, E), context.dtype, seed=9), logits.to(context.dtype)


@contexts
@pytest.mark.parametrize("way", WAYS)
def test_experts_are_chosen_as_the_options_say(context, way):
    options, choose = WAYS[way]
    layer, (x, logits) = loaded(moe(**options), context), inputs(context)

    close(layer(x, logits), looped(layer, x.float(), *choose(logits.float())), context)


@contexts
def test_logits_of_another_dtype_a_factor_and_more_dimensions(context):
    layer, (x, logits) = loaded(moe(routed_scaling_factor=2.5), context), inputs(context)

    out = layer(x.view(1, TOKENS, E), logits.double().view(1, TOKENS, X))

    close(out[0], 2.5 * looped(layer, x.float(), *best(logits.float().softmax(-1))), context)


def test_the_routers_weight_may_go_on_the_input():
    layer, (x, logits) = loaded(moe(top_k=1, renormalize=False, apply_router_weight_on_input=True), REFERENCE), inputs(
        REFERENCE)
    weights, experts = best(logits.softmax(-1), k=1, renormalize=False)

    close(layer(x, logits), looped(layer, x * weights, torch.ones_like(weights), experts), REFERENCE)


@contexts
@pytest.mark.parametrize("activation", ["silu", "gelu", "swigluoai"])
def test_biases_and_activations(context, activation):
    layer, (x, logits) = loaded(moe(has_bias=True, activation=activation), context), inputs(context)

    wanted = looped(layer, x.float(), *best(logits.float().softmax(-1)),
                    act=lambda first, second: gate(activation)(torch.cat([first, second])))
    close(layer(x, logits), wanted, context)


@contexts
def test_matrices_are_loaded_by_expert_and_shard_or_stacked_and_can_be_read(context):
    whole = loaded(moe(has_bias=True), context)
    layer, _ = made(moe(has_bias=True), context)
    w13, w2 = given(whole, context.dtype)["w13_weight"], given(whole, context.dtype)["w2_weight"]
    mapping = FusedMoE.make_expert_params_mapping(ckpt_gate_proj_name="g", ckpt_down_proj_name="d",
                                                  ckpt_up_proj_name="u", num_experts=X)
    files = {f"experts.{x}.{name}.weight": value for x in range(X)
             for name, value in (("g", w13[x, :SIZE]), ("u", w13[x, SIZE:]), ("d", w2[x]))}
    params = {f"experts.{name}": parameter for name, parameter in layer.named_parameters()}
    for name, value in files.items():
        fused, part, expert, shard = next(row for row in mapping if row[1] in name)
        parameter = params[name.replace(part, fused)]
        assert layer.missing()
        assert parameter.weight_loader(parameter, value, name, shard_id=shard, expert_id=expert, return_success=True)
    for name in ("w13_bias", "w2_bias"):
        parameter = getattr(layer, name)
        parameter.weight_loader(parameter, given(whole, context.dtype)[name])
    assert not layer.missing()
    layer.finish_loading()

    x, logits = inputs(context)
    assert torch.equal(layer(x, logits), whole(x, logits))
    assert torch.equal(layer.w13_weight, w13) and torch.equal(layer.w2_weight, w2)


def test_shared_experts_come_beside_the_routed_ones():
    shared = nn.Linear(E, E)
    options = {"num_experts": X, "top_k": 2, "hidden_size": E, "intermediate_size": SIZE}
    layer, (x, logits) = loaded(lambda: SharedFusedMoE(shared_experts=shared, **options), REFERENCE), inputs(REFERENCE)

    beside, routed = layer(x, logits)

    assert torch.equal(beside, shared(x))
    close(routed, looped(layer, x, *best(logits.softmax(-1))), REFERENCE)
    assert loaded(lambda: SharedFusedMoE(None, **options), REFERENCE)(x, logits)[0] is None


@pytest.mark.parametrize(("options", "text"), [
    ({"top_k": 9}, "top_k = 9: expected at most num_experts, 8"), ({"scoring_func": "relu"}, "scoring_func = 'relu'"),
    ({"use_grouped_topk": True, "num_expert_group": 3, "topk_group": 1}, "num_expert_group = 3"),
    ({"apply_router_weight_on_input": True}, "top_k = 2: expected 1"), ({"enable_eplb": True}, "enable_eplb = True"),
    ({"num_redundant_experts": 2}, "num_redundant_experts = 2"), ({"is_act_and_mul": False}, "is_act_and_mul"),
])
def test_options_that_have_no_code_or_contradict_each_other_are_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        moe(**options)()


def test_harmless_unknown_keywords_are_told_of_once(caplog):
    for _ in range(2):
        moe(enable_eplb=False, num_redundant_experts=0, some_new_option=None)()

    assert caplog.text.count("the keyword some_new_option is not known and changes nothing") == 1


@pytest.mark.parametrize(("shard", "expert", "text"), [("w2", 0, "expected w1 or w3"), ("w1", 8, "0 to 7")])
def test_a_shard_that_is_none_is_refused(shard, expert, text):
    layer, _ = made(moe(), REFERENCE)
    with pytest.raises(ConfigError, match=text):
        layer.w13_weight.weight_loader(layer.w13_weight, torch.zeros(SIZE, E), "name", shard, expert)

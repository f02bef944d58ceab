"""Public layers as modules: ties, copies, moves, hooks and subclasses do what torch's users expect, or say no."""

import copy

import pytest
import torch
from public_layers import (
    LAYERS,
    REFERENCE,
    WIDTH,
    contexts,
    default_dtype,
    finish,
    given,
    layers,
    loaded,
    made,
    memory,
    numbers,
)
from torch import nn

from weft.errors import ConfigError
from weft.layers.public import (
    Attention,
    LogitsProcessor,
    MergedColumnParallelLinear,
    ParallelLMHead,
    ReplicatedLinear,
    RMSNorm,
    SiluAndMul,
    VocabParallelEmbedding,
    get_rope,
)


class Model(nn.Module):
    """Table, a layer between, and a head that `tie(self)` ties or leaves alone."""

    def __init__(self, tie):
        super().__init__()
        self.lm_head = ParallelLMHead(40, WIDTH)
        self.embed_tokens, self.norm = VocabParallelEmbedding(40, WIDTH), RMSNorm(WIDTH)
        tie(self)
        self.logits_processor = LogitsProcessor(40)

    def forward(self, ids):
        return self.logits_processor(self.lm_head, self.norm(self.embed_tokens(ids)))


TIES = {
    "tie_weights": lambda model: setattr(model, "lm_head", model.lm_head.tie_weights(model.embed_tokens)),
    "head.weight = embedding.weight": lambda model: setattr(model.lm_head, "weight", model.embed_tokens.weight),
    "embedding.weight = head.weight": lambda model: setattr(model.embed_tokens, "weight", model.lm_head.weight),
    "the embedding is the head": lambda model: setattr(model, "lm_head", model.embed_tokens),
}


@contexts
@pytest.mark.parametrize("way", TIES)
def test_a_tied_table_is_loaded_once_and_used_twice(context, way):
    tied, untied = loaded(lambda: Model(TIES[way]), context), made(lambda: Model(lambda model: None), context)[0]
    table, scale = tied.embed_tokens.weight.clone(), tied.norm.weight.clone()
    for parameter, value in ((untied.lm_head.weight, table), (untied.embed_tokens.weight, table),
                             (untied.norm.weight, scale)):
        parameter.weight_loader(parameter, value)
    finish(untied)
    ids = torch.tensor([3, 0, 39])

    assert torch.equal(tied(ids), untied(ids))
    assert tied.lm_head.weight is tied.embed_tokens.weight
    assert len(list(tied.parameters())) == 2
    assert sum(layer.held_bytes({}) for layer in {tied.lm_head, tied.embed_tokens}) == untied.lm_head.held_bytes({})
    rows = tied.embed_tokens(ids)
    rows.fill_(torch.nan)
    assert torch.equal(tied(ids), untied(ids))


def test_a_table_of_another_size_and_a_shared_weight_of_other_layers_are_refused():
    def of_another_size(model):
        model.lm_head = ParallelLMHead(41, WIDTH)
        model.lm_head.weight = model.embed_tokens.weight

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (ReplicatedLinear(WIDTH, 10) for _ in range(2))
            self.b.weight = self.a.weight

    with pytest.raises(ConfigError, match=r"ParallelLMHead.weight = \[40, 24\]: expected \[41, 24\]"):
        made(lambda: Model(of_another_size), REFERENCE)
    with pytest.raises(ConfigError, match=r"b\.weight = 'the parameter of a\.weight'"):
        made(Shared, REFERENCE)


# What torch lets anybody do with a module

@contexts
@layers
def test_copies_in_a_constructor_are_layers_of_their_own(context, name):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            first = LAYERS[name]()
            self.layers = nn.ModuleList([first, copy.deepcopy(first)])

    model, _ = made(Two, context)
    for i, (_, parameter) in enumerate(model.named_parameters()):
        parameter.weight_loader(parameter, torch.full(parameter.shape, float(i)))
    finish(model)

    values = [set(parameter.flatten().tolist()) for parameter in model.parameters()]
    assert values == [{float(i)} for i in range(len(values))]
    with pytest.raises(RuntimeError, match="copy layers in the constructor"):
        copy.deepcopy(model.layers[0])


@contexts
@layers
def test_moving_to_where_a_layer_is_already_does_nothing_and_elsewhere_is_refused(context, name):
    with default_dtype(context.dtype):
        layer = LAYERS[name]().to(context.dtype).to("cpu").cpu()
    other = loaded(LAYERS[name], context)

    assert layer.weight.is_meta and other.to(context.dtype).cpu() is other
    for module in (layer, other):
        for move in (lambda m: m.half(), lambda m: m.double(), lambda m: m.to("meta")):
            with pytest.raises(ConfigError, match="the engine's dtype and device"):
                move(module)
    assert torch.equal(other.weight, given(other, context.dtype)["weight"])


@pytest.mark.parametrize("make", [
    lambda: ReplicatedLinear(WIDTH, 10, params_dtype=torch.float16), lambda: RMSNorm(WIDTH, dtype=torch.float16),
    lambda: VocabParallelEmbedding(40, WIDTH, params_dtype=torch.float16),
])
def test_parameters_of_another_dtype_than_the_models_are_refused(make):
    with pytest.raises(ConfigError, match=r"weight = torch.float16: expected torch.float32, the model's dtype"):
        made(make, REFERENCE)


@contexts
def test_hooks_fire_and_a_replaced_forward_counts(context):
    layer, seen = loaded(LAYERS["linear"], context), []
    layer.register_forward_pre_hook(lambda module, args: seen.append("before") or (args[0] + 1,))
    layer.register_forward_hook(lambda module, args, out: seen.append("after") or out * 2)
    x = numbers((3, WIDTH), context.dtype)

    out = layer(x)

    assert seen == ["before", "after"] and torch.equal(out, layer.forward(x + 1) * 2)
    activation = loaded(SiluAndMul, context)
    activation.forward = lambda x: "replaced"
    assert activation(x) == "replaced"


def test_a_subclass_may_have_a_call_of_its_own():
    class Named(RMSNorm):
        def __call__(self, *args):
            return "mine", super().__call__(*args)

    said, out = loaded(lambda: Named(WIDTH), REFERENCE)(torch.ones(1, WIDTH))
    assert said == "mine" and out.shape == (1, WIDTH)


@contexts
def test_parameters_of_a_subclass_and_constants_in_place_of_a_weight_are_kept(context):
    class Scaled(SiluAndMul):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(3.0), requires_grad=False)

        def forward(self, x):
            return super().forward(x) * self.scale

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.proj = Scaled(), ReplicatedLinear(WIDTH, WIDTH, bias=False, return_bias=False)
            self.proj.weight = nn.Parameter(2 * torch.eye(WIDTH), requires_grad=False)

    model, _ = made(Model, context)
    assert not any(layer.missing() for layer in (model.act, model.proj))
    finish(model)
    x = numbers((3, WIDTH), context.dtype)

    assert torch.equal(model.proj(x), 2 * x)
    assert torch.equal(model.act(x), loaded(SiluAndMul, context)(x) * 3)
    model.act.scale.fill_(1)
    assert torch.equal(model.act(x), loaded(SiluAndMul, context)(x))


def test_a_weight_can_be_printed():
    assert "requires_grad" not in repr(loaded(LAYERS["norm"], REFERENCE))
    assert "0." in repr(loaded(LAYERS["linear"], REFERENCE).weight)


@pytest.mark.parametrize(("make", "text"), [
    (lambda: ReplicatedLinear(0, 4), "ReplicatedLinear.input_size = 0"),
    (lambda: MergedColumnParallelLinear(4, [4, -1]), r"output_sizes\[1\] = -1"),
    (lambda: ReplicatedLinear(4, 4.0), r"output_size = 4.0"),
    (lambda: RMSNorm(True), "RMSNorm.hidden_size = True"),
    (lambda: VocabParallelEmbedding(0, 4), "num_embeddings = 0"),
    (lambda: RMSNorm(8, var_hidden_size=4), "var_hidden_size = 4"),
    (lambda: VocabParallelEmbedding(8, 4, org_num_embeddings=9), "org_num_embeddings = 9"),
    (lambda: ReplicatedLinear(4, 4, quant_config="fp8"), "ReplicatedLinear.quant_config = 'fp8'"),
    (lambda: ParallelLMHead(8, 4, quant_config="fp8"), "ParallelLMHead.quant_config = 'fp8'"),
    (lambda: get_rope(8, dtype=torch.float16), "get_rope.dtype = torch.float16"),
    (lambda: Attention(2, 8, 1.0, quant_config="fp8"), "Attention.quant_config = 'fp8'"),
])
def test_sizes_and_options_without_code_are_refused_in_the_constructor(make, text):
    with pytest.raises(ConfigError, match=text):
        make()


@contexts
def test_results_do_not_lie_in_weights(context):
    table = loaded(LAYERS["embedding"], context)

    assert memory(table(torch.arange(40))) != memory(table.weight.detach())

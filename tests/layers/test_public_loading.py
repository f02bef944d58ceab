"""Tensors find their parameters: renamed by rules, walked down the modules, and refused where nothing takes them."""

import re

import pytest
import torch
from public_layers import REFERENCE, WIDTH, finish, made, numbers
from torch import nn

from weft.errors import CheckpointError, ConfigError
from weft.layers.public import (
    AutoWeightsLoader,
    MergedColumnParallelLinear,
    PPMissingLayer,
    QKVParallelLinear,
    WeightsMapper,
    default_weight_loader,
    maybe_remap_kv_scale_name,
    set_weight_attrs,
)

STACKED = {".q_proj": (".qkv_proj", "q"), ".k_proj": (".qkv_proj", "k"), ".v_proj": (".qkv_proj", "v"),
           ".gate_proj": (".gate_up_proj", 0), ".up_proj": (".gate_up_proj", 1)}


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(3), requires_grad=False)
        self.inner = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)


class OwnLoader(nn.Module):
    """Loads its one parameter itself, doubled."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2), requires_grad=False)
        self.seen = []

    def load_weights(self, weights):
        for name, tensor in weights:
            self.seen.append(name)
            default_weight_loader(self.weight, tensor * 2)
        return {"weight"}


# WeightsMapper

@pytest.mark.parametrize(("rules", "name", "new"), [
    ({"orig_to_new_regex": {r"layers\.(\d+)\.mlp": r"blocks.\1.ffn"}}, "m.layers.12.mlp.w", "m.blocks.12.ffn.w"),
    ({"orig_to_new_substr": {".attn.": ".self_attn."}}, "h.0.attn.q.weight", "h.0.self_attn.q.weight"),
    ({"orig_to_new_prefix": {"model.": "language_model.", "lm_head.": None}}, "model.model.x",
     "language_model.model.x"),
    ({"orig_to_new_prefix": {"model.": "language_model.", "lm_head.": None}}, "lm_head.weight", None),
    ({"orig_to_new_suffix": {".gamma": ".weight"}}, "norm.gamma", "norm.weight"),
    ({"orig_to_new_substr": {"rotary_emb": None}}, "layers.0.rotary_emb.inv_freq", None),
    ({"orig_to_new_substr": {"a": "b"}, "orig_to_new_prefix": {"b": "c"}, "orig_to_new_suffix": {"c": "d"}}, "a", "d"),
    ({"orig_to_new_regex": {"^a": "b"}, "orig_to_new_substr": {"b": "c"}, "orig_to_new_stacked": {"c": ("d", 0)},
      "orig_to_new_prefix": {"d": "e"}}, "a", "e"),
])
def test_a_mapper_renames_or_drops_in_its_order_of_rules(rules, name, new):
    mapper, tensor = WeightsMapper(**rules), torch.ones(1)

    assert [found for found, _ in mapper.apply([(name, tensor)])] == ([] if new is None else [new])
    assert mapper.apply_list([name]) == ([] if new is None else [new])
    assert mapper.apply_dict({name: 5}) == ({} if new is None else {new: 5})


def test_two_mappers_merge_and_the_second_wins():
    first = WeightsMapper(orig_to_new_prefix={"a.": "b.", "c.": "d."}, orig_to_new_stacked={"q": ("qkv", "q")})
    both = first | WeightsMapper(orig_to_new_prefix={"a.": "e."})

    assert both.apply_list(["a.x", "c.x"]) == ["e.x", "d.x"]
    assert both.orig_to_new_stacked == {"q": ("qkv", "q")}


# AutoWeightsLoader

def test_tensors_go_to_the_parameters_and_statistics_of_their_names_in_any_order():
    module = Plain()
    wanted = {name: torch.full_like(value, 1 + i) for i, (name, value) in enumerate(module.state_dict().items())}
    shuffled = sorted(wanted.items(), key=lambda pair: pair[0][::-1])

    loaded = AutoWeightsLoader(module).load_weights(iter(shuffled))

    assert loaded == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in module.state_dict().items())


def test_a_childs_own_load_weights_gets_what_is_below_it():
    module = nn.Module()
    module.child, module.other = OwnLoader(), Plain()

    loaded = AutoWeightsLoader(module).load_weights([("child.any.name", torch.ones(2)), ("other.scale", torch.ones(3))])

    assert module.child.seen == ["any.name"]
    assert module.child.weight.tolist() == [2.0, 2.0]
    assert loaded == {"child.weight", "other.scale"}


def test_the_model_itself_may_call_it_from_its_own_load_weights():
    class Model(Plain):
        def load_weights(self, weights):
            return AutoWeightsLoader(self).load_weights(weights)

    assert Model().load_weights([("scale", torch.ones(3))]) == {"scale"}


@pytest.mark.parametrize("name", ["scale.nested", "inner.weigth", "outer.weight"])
def test_a_tensor_that_nothing_takes_is_refused_by_name_with_what_is_there(name):
    with pytest.raises(CheckpointError, match=re.escape(name)) as caught:
        AutoWeightsLoader(Plain()).load_weights([(name, torch.ones(3))])
    assert ("weight, bias" if name.startswith("inner") else "inner, norm, scale") in str(caught.value)


@pytest.mark.parametrize(("options", "name"), [
    ({"skip_prefixes": ["lm_head."]}, "lm_head.weight"), ({"skip_substrs": [".mtp."]}, "inner.mtp.weight"),
    ({"ignore_unexpected_prefixes": ["outer."]}, "outer.x"),
    ({"ignore_unexpected_suffixes": [".g_idx"]}, "inner.g_idx"),
    ({}, "inner.rotary_emb.inv_freq"),
])
def test_names_that_may_be_left_out_are(options, name):
    assert AutoWeightsLoader(Plain(), **options).load_weights([(name, torch.ones(1)), ("scale", torch.ones(3))]) == {
        "scale"}


def test_what_another_process_has_is_passed_over():
    module = nn.Module()
    module.layers = nn.ModuleList([Plain(), PPMissingLayer()])

    assert AutoWeightsLoader(module).load_weights(
        [("layers.1.inner.weight", torch.ones(9)), ("layers.0.scale", torch.ones(3))]) == {"layers.0.scale"}


@pytest.mark.parametrize("through_own_loop", [False, True], ids=["loader walks", "author's loop"])
def test_stacked_parts_fill_a_fused_parameter_as_by_their_shard_ids(through_own_loop):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv_proj = QKVParallelLinear(WIDTH, 8, 4, 2, bias=False)
            self.gate_up_proj = MergedColumnParallelLinear(WIDTH, [6, 6], bias=False)
            if through_own_loop:
                self.load_weights = self.loop

        def loop(self, weights):
            params = dict(self.named_parameters())
            for name, tensor in weights:
                params[name].weight_loader(params[name], tensor)
                yield name

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()

    parts = {"q": 32, "k": 16, "v": 16, "gate": 6, "up": 6}
    tensors = {part: numbers((rows, WIDTH), torch.float32, seed=i) for i, (part, rows) in enumerate(parts.items())}
    model, _ = made(Model, REFERENCE)

    loaded = AutoWeightsLoader(model).load_weights(
        [(f"block.{part}_proj.weight", tensor) for part, tensor in tensors.items()],
        mapper=WeightsMapper(orig_to_new_stacked=STACKED))
    finish(model)

    assert loaded == {"block.qkv_proj.weight", "block.gate_up_proj.weight"}
    assert torch.equal(model.block.qkv_proj.weight, torch.cat([tensors[part] for part in "qkv"]))
    assert torch.equal(model.block.gate_up_proj.weight, torch.cat([tensors["gate"], tensors["up"]]))


def test_a_part_for_a_parameter_without_parts_is_refused():
    mapper = WeightsMapper(orig_to_new_stacked={"q_scale": ("scale", "q")})

    with pytest.raises(ConfigError, match="orig_to_new_stacked = 'q': expected a parameter of a layer with parts"):
        AutoWeightsLoader(Plain()).load_weights([("q_scale", torch.ones(3))], mapper=mapper)


# Small functions

@pytest.mark.parametrize(("name", "params", "new"), [
    ("layers.0.self_attn.q_proj.weight", (), "layers.0.self_attn.q_proj.weight"),
    ("layers.0.self_attn.k_proj.k_scale", ("layers.0.self_attn.attn.k_scale",), "layers.0.self_attn.attn.k_scale"),
    ("layers.0.self_attn.v_proj.output_scale", ("layers.0.self_attn.attn.v_scale",), "layers.0.self_attn.attn.v_scale"),
    ("layers.0.self_attn.kv_scale", ("layers.0.self_attn.attn.kv_scale",), "layers.0.self_attn.attn.kv_scale"),
    ("layers.0.self_attn.k_proj.k_scale", (), None), ("x.k_scale", (), None),
    ("x.k_scale", ("x.k_scale",), "x.k_scale"),
])
def test_scales_of_a_cache_are_renamed_or_left_out(name, params, new):
    assert maybe_remap_kv_scale_name(name, dict.fromkeys(params)) == new


def test_attributes_of_a_parameter_are_set_once():
    parameter = nn.Parameter(torch.zeros(2))
    set_weight_attrs(parameter, {"weight_loader": default_weight_loader, "output_dim": 0})
    set_weight_attrs(parameter, None)

    default_weight_loader(parameter, torch.ones(2))
    assert (parameter.tolist(), parameter.output_dim) == ([1.0, 1.0], 0)
    with pytest.raises(ConfigError, match=r"weight_attrs.output_dim = 1"):
        set_weight_attrs(parameter, {"output_dim": 1})

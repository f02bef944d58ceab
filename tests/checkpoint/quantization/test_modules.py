"""Which modules are quantized: lists of names, patterns, groups and overrides, matched before any renaming."""

import re

import pytest
import torch
from quantized_llama import is_quantized, make_pair, named, opened
from quantizers import awq, bitsandbytes4, compressed_int8, compressed_packed, float8, gptq, mxfp4
from test_formats import AWQ, BNB4, FP8, GPTQ, compressed

from weft.checkpoint.quantization.module_names import matching
from weft.errors import CheckpointError

INT4 = compressed("pack-quantized", num_bits=4, strategy="group", group_size=16)


@pytest.mark.parametrize(("pattern", "stem", "is_named"), [
    ("lm_head", "lm_head", True),
    ("lm_head", "language_model.lm_head", True),
    ("mlp.gate", "model.layers.3.mlp.gate", True),
    ("mlp.gate", "model.layers.3.mlp.gate_proj", False),
    ("model.layers.1", "model.layers.1.mlp.up_proj", True),
    ("model.layers.1", "model.layers.11.mlp.up_proj", False),
    ("re:.*down_proj$", "model.layers.1.mlp.down_proj", True),
    ("re:down_proj", "model.layers.1.mlp.down_proj", False),
    ("*.self_attn*", "model.layers.0.self_attn.q_proj", True),
    ("model.layers.0.*", "model.layers.0.mlp.up_proj", True),
    ("model.layers.*.mlp.gate", "model.layers.7.mlp.gate_proj", False),
    ("model\\.layers\\.(0|1)", "model.layers.1.mlp.up_proj", True),
])
def test_a_pattern_names_whole_segments_of_a_name(pattern, stem, is_named):
    assert (matching(stem, (pattern,)) is not None) == is_named


def not_in_first_layer(name):
    return is_quantized(name) and ".layers.0." not in name


IGNORING = {
    "awq": (AWQ, "modules_to_not_convert", awq),
    "fp8": (FP8, "modules_to_not_convert", float8),
    "bitsandbytes": (BNB4, "llm_int8_skip_modules", bitsandbytes4),
    "compressed-tensors": (INT4, "ignore", compressed_packed),
    "modelopt": ({"quant_method": "modelopt", "quant_algo": "FP8"}, "exclude_modules", float8),
    "gptq": (GPTQ, "dynamic", gptq),
}


@pytest.mark.parametrize(("settings", "key", "quantize"), IGNORING.values(), ids=IGNORING)
def test_a_module_on_the_list_is_read_as_it_is_stored_and_may_not_be_quantized(tmp_path, settings, key, quantize):
    names = {"-:model.layers.0.": {}} if key == "dynamic" else ["model.layers.0"]
    settings = settings | {key: names}
    mixed = make_pair(tmp_path / "mixed", settings, quantize, which=not_in_first_layer)
    whole = make_pair(tmp_path / "whole", settings, quantize)

    plain, read = dict(opened(mixed.plain).read()), dict(opened(mixed.quantized).read())
    with pytest.raises(CheckpointError) as caught:
        opened(whole.quantized)

    assert all(torch.equal(read[name], plain[name]) for name in plain)
    assert "7 matrices are not stored as" in str(caught.value)
    assert "model.layers.0.self_attn.{" not in str(caught.value)
    assert re.search(rf"is stored quantized, but .*{key}.* names it", str(caught.value))


def test_a_quantized_head_is_read_where_the_settings_have_one(tmp_path):
    def add_head(stored):
        parts, _ = gptq(torch.randn(256, 32, generator=torch.Generator().manual_seed(1)))
        stored |= named("lm_head", parts)

    said = make_pair(tmp_path / "a", GPTQ | {"lm_head": True}, gptq, change=add_head)
    unsaid = make_pair(tmp_path / "b", GPTQ, gptq, change=add_head)

    assert opened(said.quantized).tensors["lm_head.weight"].shape == (256, 32)
    with pytest.raises(CheckpointError, match=r"lm_head .*lm_head = false"):
        opened(unsaid.quantized)


def test_gptq_overrides_change_bits_and_groups_of_the_modules_they_match(tmp_path):
    def quantize(weight):
        return gptq(weight, bits=8, group_size=24) if weight.shape == (32, 48) else gptq(weight)

    dynamic = {r"+:model\.layers\.\d+\.mlp\.down_proj": {"bits": 8, "group_size": 24}}
    pair = make_pair(tmp_path, GPTQ | {"dynamic": dynamic}, quantize)

    read = dict(opened(pair.quantized).read())

    assert all(torch.equal(read[name], value) for name, value in pair.values.items())


def test_groups_of_compressed_tensors_are_found_by_name_before_class(tmp_path):
    def quantize(weight):
        return compressed_int8(weight) if weight.shape == (32, 48) else compressed_packed(weight)

    settings = INT4 | {"format": "mixed-precision", "config_groups": {
        "all": INT4["config_groups"]["group_0"] | {"format": "pack-quantized"},
        "down": {"targets": ["re:.*down_proj"], "format": "int-quantized",
                 "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}}}}
    pair = make_pair(tmp_path, settings, quantize)

    read = dict(opened(pair.quantized).read())

    assert all(torch.equal(read[name], value) for name, value in pair.values.items())


def test_a_module_of_no_group_may_not_be_quantized(tmp_path):
    settings = INT4 | {"config_groups": {"g": INT4["config_groups"]["group_0"] | {"targets": ["re:.*self_attn.*"]}}}

    with pytest.raises(CheckpointError, match="no targets of config_groups name it"):
        opened(make_pair(tmp_path, settings, compressed_packed).quantized)


def test_experts_of_gpt_oss_are_read_with_inputs_first(tmp_path):
    experts = torch.randn(3, 64, 10, generator=torch.Generator().manual_seed(0))
    parts, value = mxfp4(experts)

    def change(stored):
        stored |= named("model.layers.0.mlp.experts.gate_up_proj", parts)
        stored["model.layers.0.mlp.experts.gate_up_proj_bias"] = torch.zeros(3, 10)

    pair = make_pair(tmp_path, {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
                     gptq, which=lambda name: False, change=change)
    checkpoint = opened(pair.quantized)
    name = "model.layers.0.mlp.experts.gate_up_proj"

    assert checkpoint.tensors[name].shape == (3, 64, 10)
    assert torch.equal(dict(checkpoint.read([name]))[name], value)
    assert f"{name}_bias" in checkpoint.tensors
    mxfp4_of_transformers = pytest.importorskip("transformers.integrations.mxfp4")
    theirs = mxfp4_of_transformers.convert_moe_packed_tensors(parts["_blocks"], parts["_scales"], dtype=torch.float32)
    assert torch.equal(theirs, value)

"""Sizes against published numbers, hand counts and the model that really is built."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from family_sizes import sizes_of
from published_configs import PUBLISHED

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families, names_of
from weft.architectures.sample import SAMPLE
from weft.architectures.spec import DecoderSpec
from weft.cache.groups import FullGroup, WindowGroup
from weft.cache.need import cache_groups
from weft.layers.context import LayerContext
from weft.layers.layer import allocate
from weft.models.sizes import (
    flops_per_token,
    model_of,
    num_active_parameters,
    num_parameters,
    parameter_shapes,
)

# From the config.json files of Qwen2.5-0.5B, Qwen3-0.6B, Llama-3.2-1B and Mixtral-8x7B-v0.1.
QWEN2_5 = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
           "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True}
QWEN3 = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
         "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True}
LLAMA_1B = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
            "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "tie_word_embeddings": True}
MIXTRAL = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2}
DESCRIPTIONS = [name for name, entry in families().items() if name == names_of(entry)[0]]


def spec_of(architecture: str, **config: Any) -> DecoderSpec:
    return families()[architecture].describe(ConfigReader(config))


def groups_of(spec: DecoderSpec, dtype: torch.dtype):
    layers = model_of(spec, context=LayerContext(dtype)).caches()
    return cache_groups([layer.need for layer in layers], block_size=16, state_interval=256)


def describe_published(name: str) -> DecoderSpec:
    config = PUBLISHED[name][1]
    return spec_of(config["architectures"][0], **config)


@pytest.mark.parametrize(("architecture", "config", "published"), [
    ("Qwen2ForCausalLM", QWEN2_5, 494_032_768),
    ("Qwen3ForCausalLM", QWEN3, 596_049_920),
    ("LlamaForCausalLM", LLAMA_1B, 1_235_814_400),
    ("MixtralForCausalLM", MIXTRAL, 46_702_792_704),
])
def test_the_number_of_parameters_is_the_published_one(architecture, config, published):
    assert num_parameters(model_of(spec_of(architecture, **config))) == published


def test_a_head_found_in_the_checkpoint_adds_its_table():
    spec = spec_of("Qwen3ForCausalLM", **QWEN3)

    assert num_parameters(model_of(spec, tied=False)) - num_parameters(model_of(spec)) == 151936 * 1024


def test_a_token_of_mixtral_uses_two_of_eight_experts():
    spec = spec_of("MixtralForCausalLM", **MIXTRAL)

    assert num_active_parameters(model_of(spec)) == 46_702_792_704 - 32 * 6 * 3 * 4096 * 14336


def test_a_token_of_deepseek_v2_lite_uses_2_7_billion_parameters():
    assert num_active_parameters(model_of(describe_published("deepseek-ai/DeepSeek-V2-Lite"))) == 2_661_150_208


def test_the_cache_of_qwen2_5_takes_12_kib_a_token_in_bfloat16():
    groups = groups_of(spec_of("Qwen2ForCausalLM", **QWEN2_5), torch.bfloat16)

    assert groups == (FullGroup(tuple(range(24)), bytes_per_token=12 * 1024, block_size=16),)


def test_latent_attention_caches_a_latent_and_a_rotated_key_for_all_heads_together():
    groups = groups_of(describe_published("deepseek-ai/DeepSeek-V2-Lite"), torch.bfloat16)

    assert groups == (FullGroup(tuple(range(27)), bytes_per_token=27 * (512 + 64) * 2, block_size=16),)


def test_layers_with_different_windows_are_different_cache_groups():
    spec = spec_of("Gemma3ForCausalLM", **SAMPLE, sliding_window=512)          # every sixth of 12 layers sees all

    groups = groups_of(spec, torch.float32)

    per_layer = 2 * 2 * 16 * 4                                                  # k and v, 2 heads of 16, 4 bytes
    assert groups == (WindowGroup(512, (0, 1, 2, 3, 4, 6, 7, 8, 9, 10), 10 * per_layer, 16),
                      FullGroup((5, 11), 2 * per_layer, 16))


def test_operations_of_a_token_are_two_for_each_weight_of_a_matrix_and_four_for_each_attended_number():
    spec = spec_of("LlamaForCausalLM", **SAMPLE | {"num_hidden_layers": 1})

    matrices = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 512 * 64              # q and o, k and v, mlp, head
    assert flops_per_token(model_of(spec)) == 2 * matrices
    assert flops_per_token(model_of(spec), context_len=10) == 2 * matrices + 4 * 4 * 16 * 10


def test_a_window_bounds_the_operations_of_attention():
    spec = spec_of("MistralForCausalLM", **SAMPLE, sliding_window=100)

    assert flops_per_token(model_of(spec), context_len=5000) == flops_per_token(model_of(spec), context_len=100)


def test_experts_that_are_not_picked_cost_nothing():
    few = spec_of("MixtralForCausalLM", **SAMPLE)
    more = spec_of("MixtralForCausalLM", **SAMPLE | {"num_local_experts": 16, "num_experts": 16})

    router_rows = 8 * 64 * 12
    assert flops_per_token(model_of(more)) - flops_per_token(model_of(few)) == 2 * router_rows


@pytest.mark.parametrize("architecture", DESCRIPTIONS)
def test_the_parameters_of_all_blocks_are_the_blocks_own(architecture):
    model = model_of(spec_of(architecture, **sizes_of(architecture)))

    of_blocks = sum(prod(shape) for name, shape in parameter_shapes(model).items() if name.startswith("blocks."))
    assert of_blocks == sum(num_parameters(block) for block in model.blocks)


@pytest.mark.parametrize("architecture", DESCRIPTIONS)
def test_every_home_is_a_view_of_a_parameter_and_every_parameter_has_homes(architecture):
    model = model_of(spec_of(architecture, **sizes_of(architecture)))
    allocate(model, "cpu")

    homes = {home.place: home for home in model.homes().values()}        # a tied head's table has two names

    assert sum(home.view.numel() for home in homes.values()) == sum(p.numel() for p in model.parameters())
    for home in homes.values():
        home.view.fill_(1)
    assert all((parameter == 1).all() for parameter in model.parameters())

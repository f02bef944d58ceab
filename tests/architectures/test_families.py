"""What the descriptions say of published configs, and what they refuse: no weights, no torch."""

from __future__ import annotations

import math

import encoder_kinds
import pytest
import tiny_encoders
from published_configs import PUBLISHED as DECODERS
from published_encoders import PUBLISHED_ENCODERS
from tiny_decoders import DECODERS as TINY_DECODERS
from tiny_hybrids import HYBRID_VARIANTS
from tiny_variants import STATE_VARIANTS, VARIANTS

from weft.architectures.keys import ACTIVATIONS
from weft.architectures.names import GroupedQKV
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.architectures.spec import Alibi, DecoderSpec, LinearScaling, MoESpec
from weft.errors import ConfigError
from weft.models.registry import support
from weft.models.sizes import model_of, num_parameters
from weft.ops import activation

PUBLISHED = DECODERS | PUBLISHED_ENCODERS


def describe(config: dict) -> tuple[DecoderSpec, ConfigReader]:
    reader = ConfigReader(config)
    return families()[config["architectures"][0]].describe(reader), reader


def published(name: str, **changes) -> DecoderSpec:
    return describe(PUBLISHED[name][1] | changes)[0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_gives_the_published_number_of_parameters(name):
    count, config = PUBLISHED[name]

    assert num_parameters(model_of(describe(config)[0])) == count


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_key_of_a_published_config_is_read_or_known_to_be_harmless(name):
    assert describe(PUBLISHED[name][1])[1].unread() == {}


def test_every_family_has_a_tiny_model_and_a_source():
    tinies = (VARIANTS | STATE_VARIANTS | HYBRID_VARIANTS | TINY_DECODERS).values()
    covered = {tiny.cls for tiny in tinies} | {"QWenLMHeadModel"}
    covered |= tiny_encoders.ARCHITECTURES | encoder_kinds.ARCHITECTURES
    covered |= {name for name, columns in support.tested().items() if "tested" in columns}      # by files of their own
    for name, entry in families().items():
        assert covered & set(entry.describe.__weft_architectures__), f"{name} has no tiny model"
        assert "Source:" in entry.describe.__doc__, f"{name} does not say where it is described"
        assert entry.summary


def test_the_activations_that_configs_may_name_are_those_there_are():
    assert set(ACTIVATIONS) == set(activation.ACTIVATIONS)


# What a family says


def test_mistral_slides_in_all_layers_and_a_null_window_means_none():
    sliding, full = published("mistralai/Mistral-7B-v0.1"), published("mistralai/Mistral-7B-v0.1", sliding_window=None)

    assert {block.mixer.window for block in sliding.blocks} == {4096}
    assert {block.mixer.window for block in full.blocks} == {None}


def test_qwen2_slides_from_max_window_layers_on_and_only_when_told_so():
    windows = [block.mixer.window for block in published("Qwen/Qwen2.5-0.5B", use_sliding_window=True,
                                                         sliding_window=1024, max_window_layers=20).blocks]

    assert windows == [None] * 20 + [1024] * 4
    assert {block.mixer.window for block in published("Qwen/Qwen2.5-0.5B").blocks} == {None}


def test_qwen3_moe_has_dense_layers_where_the_config_says_so():
    blocks = published("Qwen/Qwen3-30B-A3B", mlp_only_layers=[1], decoder_sparse_step=2).blocks

    assert [i for i, block in enumerate(blocks) if isinstance(block.ffn, MoESpec)] == list(range(3, 48, 2))
    assert blocks[0].ffn.intermediate_size == 6144


def test_gemma_takes_gelu_for_its_tanh_approximation_and_scales_embeddings():
    spec = published("google/gemma-2b")

    assert spec.blocks[0].ffn.act == "gelu_pytorch_tanh"
    assert spec.embedding.scale == 2048 ** 0.5
    assert spec.final_norm.offset == 1.0
    assert spec.head.tied


def test_gemma2_alternates_windows_and_caps_scores_and_logits():
    spec = published("google/gemma-2-9b")

    assert [block.mixer.window for block in spec.blocks[:4]] == [4096, None, 4096, None]
    assert spec.blocks[0].mixer.softcap == 50.0
    assert spec.head.softcap == 30.0
    assert published("google/gemma-2-9b", final_logit_softcapping=None).head.softcap is None


def test_gemma3_has_a_global_layer_after_five_local_ones_with_a_base_and_scaling_of_its_own():
    spec = published("google/gemma-3-1b-it", rope_scaling={"rope_type": "linear", "factor": 8.0})
    local, globally = spec.blocks[4].mixer, spec.blocks[5].mixer

    assert (local.window, local.positions.theta, local.positions.scaling) == (512, 1e4, None)
    assert (globally.window, globally.positions.theta) == (None, 1e6)
    assert globally.positions.scaling == LinearScaling(factor=8.0)


def test_falcons_layouts_differ_in_heads_norms_and_order():
    old, new = published("tiiuae/falcon-7b"), published("tiiuae/falcon-40b")
    rw = published("tiiuae/falcon-7b", multi_query=False, parallel_attn=False, alibi=True, bias=True, hidden_size=2048,
                   num_attention_heads=32)

    assert (old.blocks[0].mixer.num_kv_heads, old.blocks[0].parallel, old.blocks[0].ffn_norm) == (1, True, None)
    assert (new.blocks[0].mixer.num_kv_heads, new.blocks[0].parallel) == (8, True)
    assert new.blocks[0].ffn_norm is not None
    assert (rw.blocks[0].mixer.num_kv_heads, rw.blocks[0].parallel) == (32, False)
    assert rw.blocks[0].mixer.positions == Alibi(scale=64 ** -0.5, is_bfloat16=True)
    assert GroupedQKV(num_groups=8, queries_per_group=16, head_dim=64) in [rule.layout for rule in new.names.rules]


def test_the_first_falcon_configs_have_other_names_for_the_sizes():
    config = {"architectures": ["RWForCausalLM"], "n_layer": 32, "n_head": 71, "n_embed": 4544, "vocab_size": 65024,
              "multi_query": True, "parallel_attn": True, "bias": False, "alibi": False}

    assert num_parameters(model_of(describe(config)[0])) == PUBLISHED["tiiuae/falcon-7b"][0]


def test_opt_350m_norms_after_the_sum_and_projects_its_narrow_embedding():
    spec = published("facebook/opt-350m")

    assert spec.blocks[0].post_residual
    assert spec.final_norm is None
    assert spec.embedding.embedding_dim == 512
    assert (spec.embedding.positions.num_positions, spec.embedding.positions.offset) == (2048, 2)


def test_gpt2_may_weaken_attention_layer_by_layer():
    spec = published("gpt2", scale_attn_by_inverse_layer_idx=True)

    assert [block.mixer.scale for block in spec.blocks[:3]] == [1 / 8, 1 / 16, 1 / 24]


def test_granite_divides_logits_and_scales_embeddings_residuals_and_scores():
    spec = published("ibm-granite/granite-3.0-8b-base")

    assert (spec.head.scale, spec.embedding.scale) == (1 / 16, 12.0)
    assert (spec.blocks[0].residual_scale, spec.blocks[0].mixer.scale) == (0.22, 0.0078125)


def test_deepseek_v2_chooses_experts_within_groups_and_lite_among_all():
    lite, full = (published(f"deepseek-ai/DeepSeek-V2{name}") for name in ("-Lite", ""))

    assert [isinstance(block.ffn, MoESpec) for block in lite.blocks] == [False, *[True] * 26]
    moe = full.blocks[1].ffn
    assert (moe.num_groups, moe.groups_per_token, moe.group_best, moe.scale, moe.renormalize) == (8, 3, 1, 16.0, False)
    assert (moe.shared.intermediate_size, moe.shared_gate) == (2 * 1536, False)
    assert (lite.blocks[1].ffn.num_groups, lite.blocks[0].mixer.q_rank, full.blocks[0].mixer.q_rank) == (1, None, 1536)


def test_deepseek_scales_scores_beyond_what_yarn_does_to_the_rotated_part():
    mixer = published("deepseek-ai/DeepSeek-V2-Lite").blocks[0].mixer
    plain = published("deepseek-ai/DeepSeek-V2-Lite", rope_scaling=None).blocks[0].mixer

    assert mixer.scale == pytest.approx(192 ** -0.5 * (0.0707 * math.log(40) + 1) ** 2)
    assert plain.scale == 192 ** -0.5
    assert mixer.positions.interleaved
    yarn = {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
            "original_max_position_embeddings": 4096}
    own, without = (published("deepseek-ai/DeepSeek-V2-Lite", rope_scaling=yarn | {"rope_type": kind}).blocks[0].mixer
                    for kind in ("deepseek_yarn", "deepseek_llama_scaling"))
    assert own == mixer
    assert (without.positions, without.scale) == (mixer.positions, 192 ** -0.5)


def test_deepseek_v3_scores_by_sigmoid_with_a_bias_and_leaves_the_layers_that_predict_further_out():
    spec = published("deepseek-ai/DeepSeek-V3")

    moe = spec.blocks[3].ffn
    assert (moe.scores, moe.choice_bias, moe.group_best, moe.scale) == ("sigmoid", True, 2, 2.5)
    assert spec.names.ignored_prefixes == ("model.layers.61.",)
    assert len(spec.blocks) == 61


def test_experts_may_be_in_every_second_layer_of_deepseek_or_in_none():
    every = published("deepseek-ai/DeepSeek-V2-Lite", moe_layer_freq=2)
    none = published("deepseek-ai/DeepSeek-V2-Lite", n_routed_experts=None)

    assert [i for i, block in enumerate(every.blocks) if isinstance(block.ffn, MoESpec)] == list(range(2, 27, 2))
    assert not any(isinstance(block.ffn, MoESpec) for block in none.blocks)


def test_glm_rotates_half_of_each_head_and_has_norms_after_each_part_since_0414():
    old, new = published("THUDM/glm-4-9b-chat-hf").blocks[0], published("THUDM/GLM-4-32B-0414").blocks[0]

    assert (old.mixer.positions.rotary_dim, old.mixer.positions.interleaved) == (64, True)
    assert (old.mixer.qkv_bias, old.mixer.out_bias, new.mixer.qkv_bias) == (True, False, False)
    assert (old.mixer_post_norm, old.ffn_post_norm) == (None, None)
    assert new.mixer_post_norm == new.ffn_post_norm == new.mixer_norm


def test_stablelm_12b_norms_each_head_of_q_and_k_from_tensors_of_their_own():
    spec = published("stabilityai/stablelm-2-1_6b", qk_layernorm=True, use_parallel_residual=True)

    assert spec.blocks[0].mixer.qk_norm.scope == "each_head"
    assert spec.blocks[0].mixer.positions.rotary_dim == 16
    assert spec.names.by_row == ("blocks.{i}.mixer.q_norm", "blocks.{i}.mixer.k_norm")


def test_qwen_v1_has_half_the_rows_in_each_mlp_matrix_and_stays_within_its_trained_length():
    spec = published("Qwen/Qwen-7B")

    assert spec.blocks[0].ffn.intermediate_size == 11008
    assert (spec.blocks[0].mixer.qkv_bias, spec.blocks[0].mixer.out_bias) == (True, False)
    assert spec.max_position == 8192
    assert published("Qwen/Qwen-7B", use_dynamic_ntk=False, use_logn_attn=False).max_position == 32768


# What a family refuses


@pytest.mark.parametrize(("name", "changes", "field"), [
    ("meta-llama/Llama-3.1-8B", {"hidden_act": "snake"}, "hidden_act"),
    ("meta-llama/Llama-3.1-8B", {"num_key_value_heads": 5}, "num_key_value_heads"),
    ("meta-llama/Llama-3.1-8B", {"num_attention_heads": 33, "num_key_value_heads": 33}, "num_attention_heads"),
    ("meta-llama/Llama-3.1-8B", {"hidden_size": None}, "hidden_size"),
    ("meta-llama/Llama-3.1-8B", {"num_hidden_layers": "32"}, "num_hidden_layers"),
    ("meta-llama/Llama-3.1-8B", {"num_hidden_layers": 10**30}, "num_hidden_layers"),
    ("meta-llama/Llama-3.1-8B", {"rms_norm_eps": float("nan")}, "rms_norm_eps"),
    ("meta-llama/Llama-3.1-8B", {"attention_bias": "no"}, "attention_bias"),
    ("mistralai/Mistral-7B-v0.1", {"sliding_window": -1}, "sliding_window"),
    ("mistralai/Mistral-7B-v0.1", {"layer_types": ["full_attention"]}, "layer_types"),
    ("mistralai/Mistral-7B-v0.1", {"layer_types": ["chunked_attention"] * 32}, "layer_types"),
    ("mistralai/Mixtral-8x7B-v0.1", {"num_experts_per_tok": 9}, "num_experts_per_tok"),
    ("Qwen/Qwen2.5-0.5B", {"layer_types": ["sliding_attention"] * 24}, "sliding_window"),
    ("Qwen/Qwen3-0.6B", {"head_dim": None}, "head_dim"),
    ("google/gemma-2b", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
    ("tiiuae/falcon-40b", {"parallel_attn": False}, "parallel_attn"),
    ("tiiuae/falcon-40b", {"num_kv_heads": 7}, "num_kv_heads"),
    ("tiiuae/falcon-7b", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn"),
    ("ibm-granite/granite-3.0-8b-base", {"logits_scaling": 0}, "logits_scaling"),
    ("Qwen/Qwen-7B", {"scale_attn_weights": False}, "scale_attn_weights"),
    ("deepseek-ai/DeepSeek-V2", {"topk_method": "noaux_tc"}, "topk_method"),
    ("deepseek-ai/DeepSeek-V2", {"scoring_func": "sigmoid"}, "scoring_func"),
    ("deepseek-ai/DeepSeek-V2", {"n_group": 7}, "n_group"),
    ("deepseek-ai/DeepSeek-V2", {"topk_group": 9}, "topk_group"),
    ("deepseek-ai/DeepSeek-V3", {"n_group": 256, "topk_group": 8}, "n_group"),
    ("deepseek-ai/DeepSeek-V2-Lite", {"kv_lora_rank": None}, "kv_lora_rank"),
    ("deepseek-ai/DeepSeek-V2-Lite", {"qk_rope_head_dim": 63}, "qk_rope_head_dim"),
    ("deepseek-ai/DeepSeek-V2-Lite", {"use_mla": False}, "use_mla"),
])
def test_what_a_family_cannot_run_is_refused_by_the_keys_name(name, changes, field):
    with pytest.raises(ConfigError) as error:
        published(name, **changes)

    assert error.value.field == field

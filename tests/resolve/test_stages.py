"""Each stage from config.json to the normalised config, alone: dictionaries in, dictionaries out."""

import pytest

from weft.errors import ConfigError
from weft.resolve.config_file import normalise
from weft.resolve.hf.classes import recipe_of
from weft.resolve.hf.recipes import RECIPES
from weft.resolve.stages import (
    Values,
    check_ropes,
    fill_in,
    find_model_type,
    merge_overrides,
    move_ropes,
    name_architectures,
    rename_keys,
)

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


@pytest.mark.parametrize(("values", "overrides", "expected"), [
    ({"model_type": "llama"}, {}, "llama"),
    ({"model_type": "llama"}, {"model_type": "qwen2"}, "qwen2"),
    ({"speculators_config": {}}, {}, "speculators"),
    ({"speculators_config": {}, "model_type": "llama"}, {}, "llama"),
    ({}, {}, None),
])
def test_the_model_type_is_the_overrides_then_the_files(values, overrides, expected):
    assert find_model_type(values, overrides, "config.json") == expected


def test_a_model_type_that_is_no_string_names_the_place_it_stands_in():
    with pytest.raises(ConfigError, match=r"model_type = 3 \(in hf_overrides\)"):
        find_model_type({}, {"model_type": 3}, "config.json")


def test_llm_config_becomes_text_config_and_its_keys_know_where_they_stood():
    found = rename_keys(Values({"llm_config": {"a": 1}}), None, "c.json")

    assert found == Values({"text_config": {"a": 1}}, {
        "text_config": "c.json [llm_config]", "text_config.a": "c.json [llm_config.a]"})


def test_a_rename_never_goes_over_a_value_that_is_there():
    both = {"llm_config": {"a": 1}, "text_config": {"a": 2}}

    assert rename_keys(Values(both), None, "c.json").values == both


def test_ropes_are_moved_in_the_config_and_in_each_config_within_it():
    found = move_ropes(Values({"rope_theta": 1e6, "vision_config": {"rope_theta": 1e4},
                               "thinker_config": {"text_config": {"rotary_pct": 0.5}}}), "c.json", is_whole=True)

    assert found.values == {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "vision_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        "thinker_config": {"text_config": {"rope_parameters": {
            "rope_type": "default", "partial_rotary_factor": 0.5}}}}
    assert found.origins["vision_config.rope_parameters.rope_theta"] == "c.json [vision_config.rope_theta]"


@pytest.mark.parametrize(("file", "override", "expected"), [
    ({"rope_theta": 1e4}, {"rope_theta": 5e5}, {"rope_type": "default", "rope_theta": 5e5}),
    ({"rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 1e4}}, {"rope_theta": 5e5},
     {"rope_type": "linear", "factor": 2, "rope_theta": 5e5}),
    ({"rope_theta": 1e4}, {"rope_scaling": {"type": "linear", "factor": 4}},
     {"rope_type": "linear", "factor": 4, "rope_theta": 1e4}),
    ({"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 4}}, {"rope_parameters": {"factor": 8}},
     {"rope_type": "linear", "factor": 8, "rope_theta": 1e4}),
    ({"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 4}}, {"rope_scaling": None},
     {"rope_type": "default", "rope_theta": 1e4}),
])
def test_an_override_of_rope_counts_whichever_spelling_it_and_the_file_use(file, override, expected):
    found = merge_overrides(move_ropes(Values(file), "c.json", is_whole=True),
                            move_ropes(Values(override), "override", is_whole=False))

    assert found.values == {"rope_parameters": expected}


def test_an_override_of_a_nested_config_that_is_not_there_names_the_keys_that_would_work():
    with pytest.raises(ConfigError, match=r"has no text_config.*without it would work: hidden_size"):
        merge_overrides(Values({"hidden_size": 8}), Values({"text_config": {"hidden_size": 16}}))


def test_defaults_stand_where_the_file_has_no_key_and_say_whose_they_are():
    found = fill_in(Values({"stack_factor": 4}), RECIPES["UltravoxConfig"], "c.json")

    assert found.values["stack_factor"] == 4
    assert found.values["projector_act"] == "swiglu"
    assert found.origins["projector_act"] == "default of UltravoxConfig"
    assert "stack_factor" not in found.origins


def test_what_a_class_works_out_never_goes_over_an_override():
    values = Values({"model": {"architectures": ["LlamaForCausalLM"]}, "architectures": ["Mine"]},
                    {"architectures": "override"})

    assert fill_in(values, RECIPES["EAGLEConfig"], "c.json").values["architectures"] == ["Mine"]


def test_architectures_follow_from_the_model_type():
    found = name_architectures(Values({"model_type": "RefinedWeb"}), "c.json")

    assert found == Values({"model_type": "RefinedWeb", "architectures": ["RWForCausalLM"]},
                           {"architectures": "model_type RefinedWeb"})


def test_ropes_are_checked_before_anything_is_built():
    with pytest.raises(ConfigError, match=r"rope_scaling\.type = 'spiral' \(in c\.json\)"):
        normalise(LLAMA | {"rope_scaling": {"type": "spiral"}}, {}, "c.json")
    with pytest.raises(ConfigError, match=r"text_config\.rope_parameters\.rope_type = 'spiral'"):
        check_ropes({"text_config": {"rope_parameters": {"rope_type": "spiral"}}}, {}, "c.json")


# What the classes do that weft has itself


@pytest.mark.parametrize(("values", "expected"), [
    ({"model_type": "chatglm", "num_layers": 28, "padded_vocab_size": 65024, "seq_length": 8192,
      "multi_query_group_num": 2},
     {"num_hidden_layers": 28, "vocab_size": 65024, "max_position_embeddings": 8192, "num_key_value_heads": 2,
      "kv_channels": 128}),
    ({"model_type": "RefinedWebModel", "n_layer": 32, "n_head": 71, "n_embed": 4544},
     {"num_hidden_layers": 32, "num_attention_heads": 71, "hidden_size": 4544, "num_kv_heads": 1}),
    ({"model_type": "RefinedWeb", "hidden_size": 8192, "n_head_kv": 8},
     {"new_decoder_architecture": True, "num_kv_heads": 8}),
    ({"model_type": "jais", "n_embd": 2048, "n_layer": 24}, {"hidden_size": 2048, "num_hidden_layers": 24,
                                                            "position_embedding_type": "learned"}),
    ({"model_type": "eagle", "model": {"model_type": "llama", "architectures": ["LlamaForCausalLM"],
                                       "hidden_size": 64, "vocab_size": 100}},
     {"architectures": ["EagleLlamaForCausalLM"], "hidden_size": 64, "truncated_vocab_size": 100}),
    ({"model_type": "eagle", "method": "eagle3", "architectures": ["LlamaForCausalLM"]},
     {"architectures": ["Eagle3LlamaForCausalLM"]}),
    ({"model_type": "medusa", "medusa_num_heads": 3, "medusa_num_layers": 2},
     {"architectures": ["MedusaModel"], "num_heads": 3, "num_hidden_layers": 2, "num_lookahead_tokens": 3,
      "max_seq_len": 2**20}),
    ({"model_type": "RefinedWebModel", "hidden_size": 4544}, {"new_decoder_architecture": False, "num_kv_heads": 1}),
    ({"model_type": "RefinedWeb", "hidden_size": 8192, "new_decoder_architecture": False},
     {"new_decoder_architecture": False, "num_kv_heads": 1}),
    ({"model_type": "RefinedWebModel", "hidden_size": 64, "n_head_kv": 4, "new_decoder_architecture": True},
     {"new_decoder_architecture": True, "num_kv_heads": 4}),
    ({"model_type": "mlp_speculator", "n_predict": 3},
     {"num_lookahead_tokens": 3, "top_k_tokens_per_head": [5, 4, 3], "inner_dim": 0}),
    ({"speculators_config": {"proposal_methods": [{"speculative_tokens": 5}],
                             "verifier": {"name_or_path": "meta/llama"}},
      "speculators_model_type": "eagle3", "transformer_layer_config": {"hidden_size": 64},
      "architectures": ["Eagle3Speculator"]},
     {"model_type": "speculators", "method": "eagle3", "num_lookahead_tokens": 5, "target_model": "meta/llama",
      "hidden_size": 64, "architectures": ["Eagle3LlamaForCausalLM"], "norm_before_residual": True}),
    ({"speculators_config": {}, "speculators_model_type": "peagle", "norm_before_residual": True,
      "transformer_layer_config": {"model_type": "qwen3"}},
     {"architectures": ["PeagleQwen3ForCausalLM"], "norm_before_residual": True}),
    ({"speculators_config": {}, "speculators_model_type": "dflash", "transformer_layer_config": {"model_type": "x"}},
     {"architectures": ["DFlashDraftModel"]}),
    ({"model_type": "kimi_vl", "architectures": ["KimiVLForConditionalGeneration"]},
     {"media_placeholder_token_id": 163605}),
    ({"model_type": "deepseek_vl_v2", "architectures": ["DeepseekVLV2ForCausalLM"]}, {"tile_tag": "2D"}),
    ({"model_type": "ultravox", "architectures": ["UltravoxModel"]}, {"projector_act": "swiglu"}),
])
def test_a_class_of_wefts_own_renames_fills_in_and_works_out(values, expected):
    found = normalise(values, {}, "c.json").values

    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize(("values", "message"), [
    ({"speculators_config": {}}, r"speculators_model_type = None \(in c\.json\)"),
    ({"speculators_config": {}, "speculators_model_type": "hydra"}, "speculators_model_type = 'hydra'.*eagle3"),
    ({"speculators_config": {}, "speculators_model_type": "eagle3", "transformer_layer_config": {"model_type": "opt"}},
     r"transformer_layer_config\.model_type = 'opt' .*llama, qwen3"),
    ({"speculators_config": {}, "speculators_model_type": "eagle3", "transformer_layer_config": 3},
     "transformer_layer_config = 3"),
    ({"model_type": "mlp_speculator", "n_predict": 4, "top_k_tokens_per_head": [2, 1]},
     r"top_k_tokens_per_head = \[2, 1\] .*4 numbers"),
    ({"model_type": "mlp_speculator", "n_predict": 10**8}, "n_predict = 100000000 .*from 1 to 100"),
    ({"model_type": "mlp_speculator", "n_predict": 0}, "n_predict = 0"),
])
def test_a_draft_that_cannot_be_is_refused_by_its_key(values, message):
    with pytest.raises(ConfigError, match=message):
        normalise(values, {}, "c.json")


def test_an_override_may_use_the_names_of_the_class_or_the_usual_ones():
    file = {"model_type": "chatglm", "num_layers": 28}

    assert normalise(file, {"num_layers": 2}, "c.json").values["num_hidden_layers"] == 2
    assert normalise(file, {"num_hidden_layers": 2}, "c.json").values["num_hidden_layers"] == 2


def test_an_overridden_model_type_switches_the_class():
    found = normalise(LLAMA | {"seq_length": 4096}, {"model_type": "chatglm"}, "c.json")

    assert found.values["max_position_embeddings"] == 4096
    assert recipe_of("llama") is None


# The nested language model


def test_a_text_config_that_lacks_sizes_gets_those_of_its_class():
    found = normalise({"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava",
                       "text_config": {"model_type": "llama", "vocab_size": 32064, "num_hidden_layers": 3}},
                      {}, "c.json")

    assert (found.text["hidden_size"], found.text["vocab_size"], found.text["num_hidden_layers"]) == (4096, 32064, 3)
    assert found.origins["text_config.hidden_size"] == "default of LlamaConfig"


def test_a_text_config_without_a_type_gets_the_class_that_the_whole_config_nests():
    found = normalise({"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
                       "text_config": {"hidden_size": 2560}}, {}, "c.json")

    assert found.origins["text_config.head_dim"] == "default of Gemma3TextConfig"


def test_a_text_config_with_its_sizes_needs_no_class():
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9,
            "max_position_embeddings": 7, "model_type": "llama"}

    found = normalise({"architectures": ["LlavaForConditionalGeneration"], "text_config": text}, {}, "c.json")

    assert found.text == text


def test_a_text_config_that_its_class_refuses_is_an_error_that_names_the_place():
    text = {"model_type": "llama", "hidden_size": "wide"}

    with pytest.raises(ConfigError, match=r"text_config\.hidden_size = 'wide' \(in c\.json\): .*LlamaConfig"):
        normalise({"architectures": ["X"], "text_config": text}, {}, "c.json")

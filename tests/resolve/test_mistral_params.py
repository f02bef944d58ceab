"""Each row of the mapping from params.json, alone. Whole files are among the golden configs."""

import json

import pytest
from descriptions import description_of
from golden_configs import NO_TENSORS
from model_dir import write_model

from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.resolve import adapt_config_dict, get_config
from weft.resolve.engine_config import resolve_model
from weft.resolve.files import find_model
from weft.resolve.mistral.params import (
    add_unused_experts,
    check_llama_4,
    name_architecture,
    name_sizes,
    nest_encoder,
    place_quantization,
    place_window,
    place_yarn,
    set_lengths,
)
from weft.resolve.mistral.parser import fill, set_defaults
from weft.resolve.stages import Values

PARAMS = {"dim": 64, "n_layers": 4, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "norm_eps": 1e-5,
          "vocab_size": 100, "rope_theta": 1e6, "max_position_embeddings": 512}
MOE = {"num_experts": 8, "num_experts_per_tok": 2}
WHISPER = {"encoder_args": {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16, "vocab_size": 20,
                            "audio_encoding_args": {"num_mel_bins": 80, "window_size": 400, "sampling_rate": 16000,
                                                    "hop_length": 160}}, "downsample_args": {"downsample_factor": 4}}


def step(function, **values):
    return function(Values(values), "params.json")


def write_params(path, **changes):
    """A directory in Mistral's format, whose weights have no tensors."""
    write_model(path, {"params.json": PARAMS | changes})
    (path / "config.json").unlink()
    (path / "consolidated.safetensors").write_bytes(NO_TENSORS)
    return path


def resolved(path, **options):
    args = EngineArgs(model=str(path), **options)
    return resolve_model(args, find_model(args))


# Names and lengths


@pytest.mark.parametrize(("old", "new"), [
    ("dim", "hidden_size"), ("n_layers", "num_hidden_layers"), ("n_heads", "num_attention_heads"),
    ("n_kv_heads", "num_key_value_heads"), ("hidden_dim", "intermediate_size"), ("norm_eps", "rms_norm_eps"),
    ("activation", "hidden_act"), ("tied_embeddings", "tie_word_embeddings"),
])
def test_a_size_gets_its_usual_name_and_knows_the_old_one(old, new):
    found = step(name_sizes, **{old: 7})

    assert found.values[new] == 7 and old not in found.values
    assert found.origins[new] == f"params.json [{old}]"


def test_what_the_format_means_unsaid_is_written_down():
    found = step(name_sizes)

    assert found.values == {"hidden_act": "silu", "tie_word_embeddings": False}
    assert set(found.origins.values()) == {"default of Mistral's format"}


@pytest.mark.parametrize("key", ["head_dim", "vocab_size", "rope_theta", "q_lora_rank", "kv_lora_rank",
                                 "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "attn_logit_softcapping",
                                 "final_logit_softcapping", "something_new"])
def test_other_keys_stay_as_they_are(key):
    assert adapt_config_dict(PARAMS | {"moe": MOE, key: 48})[key] == 48


def test_a_nested_language_model_is_refused_because_the_format_has_none():
    with pytest.raises(ConfigError, match=r"^text_config = .*\(in params\.json\): expected no such key"):
        step(name_sizes, text_config={"dim": 3})


@pytest.mark.parametrize(("own", "beside", "expected", "origin"), [
    ({"max_position_embeddings": 5}, {"max_position_embeddings": 9}, (5, 5), None),
    ({}, {"max_position_embeddings": 9}, (9, 9), "config.json [max_position_embeddings]"),
    ({}, {"text_config": {"max_position_embeddings": 9}}, (9, 9), "config.json [text_config.max_position_embeddings]"),
    ({"max_seq_len": 3}, {"max_position_embeddings": 9}, (9, 3), "config.json [max_position_embeddings]"),
    ({}, {}, (128_000, 128_000), "default of Mistral's format"),
])
def test_the_length_is_the_files_then_config_jsons_then_a_guess(own, beside, expected, origin, caplog):
    found = set_lengths(Values(own), beside, "params.json", "config.json")

    assert (found.values["max_position_embeddings"], found.values["max_seq_len"]) == expected
    assert found.origins.get("max_position_embeddings") == origin
    assert ("128000 is assumed" in caplog.text) == (expected[0] == 128_000)


# The window


@pytest.mark.parametrize(("given", "window", "types"), [
    (8, 8, "ssss"), ([None, 8, 8, 8], 8, "fsss"), ([None, 8], 8, "fsfs"), ([8, None, None], 8, "sffs"),
    ([None], None, "ffff"),
])
def test_windows_become_a_size_and_the_types_of_layers(given, window, types):
    found = step(place_window, num_hidden_layers=4, sliding_window=given)

    assert found.values["sliding_window"] == window
    assert found.values["layer_types"] == [{"s": "sliding_attention", "f": "full_attention"}[t] for t in types]
    assert found.origins["layer_types"] == "params.json [sliding_window]"


def test_types_of_layers_that_are_given_stay():
    assert step(place_window, num_hidden_layers=1, sliding_window=8, layer_types=["full_attention"]).values[
        "layer_types"] == ["full_attention"]


@pytest.mark.parametrize("nothing", [{}, {"sliding_window": None}, {"sliding_window": 0}])
def test_no_window_is_no_window_though_the_family_has_one(nothing, tmp_path):
    assert "layer_types" not in step(place_window, **nothing).values

    spec, _ = description_of(resolved(write_params(tmp_path, **nothing)))
    assert all(block.mixer.mask.__class__.__name__ == "Causal" for block in spec.blocks)


@pytest.mark.parametrize(("window", "said"), [
    ([4, 8], "one size"), (-1, "a number of tokens"), ([4, "8"], "a number of tokens"), ([], "a number of tokens"),
    ("8", "a number of tokens"), ([4] * 5, "n_layers = 4"), (True, "a number of tokens"),
])
def test_a_window_that_is_none_is_refused(window, said):
    with pytest.raises(ConfigError, match=r"^sliding_window = .*\(in params\.json\)") as caught:
        step(place_window, num_hidden_layers=4, sliding_window=window)

    assert said in str(caught.value)


# Quantization


@pytest.mark.parametrize(("scheme", "expected"), [
    ({"qscheme_act": "NO_SCALES"}, "dynamic"), ({"qscheme_act": "TENSOR"}, "static"), ({}, "static")])
def test_float8_says_whether_activations_have_scales(scheme, expected):
    found = step(place_quantization, quantization={"qformat_weight": "fp8_e4m3", "more": 1} | scheme)

    assert found.values == {"quantization_config": {"quant_method": "fp8", "activation_scheme": expected, "more": 1}}
    assert found.origins == {"quantization_config": "params.json [quantization]"}


def test_compressed_tensors_settings_are_taken_as_they_are():
    settings = {"quant_method": "compressed-tensors", "config_groups": {}}

    assert step(place_quantization, quantization=settings).values == {"quantization_config": settings}


@pytest.mark.parametrize(("settings", "key"), [
    ({"qformat_weight": "int8"}, "qformat_weight"), ({"quant_method": "awq"}, "quant_method"),
    ({"x": 1}, "quant_method"),
    ({"qformat_weight": "fp8_e4m3", "qscheme_act": "ROW"}, "qscheme_act"),
])
def test_another_quantization_is_refused_by_its_key(settings, key):
    with pytest.raises(ConfigError, match=rf"^quantization\.{key} = .*\(in params\.json\)"):
        step(place_quantization, quantization=settings)


# Experts and the architecture


def test_latent_attention_without_experts_gets_one_that_no_layer_uses():
    found = name_architecture(step(add_unused_experts, num_hidden_layers=4, qk_nope_head_dim=8), "params.json")

    assert found.values["architectures"] == ["MistralLarge3ForCausalLM"]
    assert (found.values["n_routed_experts"], found.values["first_k_dense_replace"]) == (1, 4)
    assert found.origins["n_routed_experts"] == "worked out by MistralLarge3ForCausalLM"
    assert step(add_unused_experts, qk_nope_head_dim=8, moe=MOE).values["moe"] == MOE


@pytest.mark.parametrize(("values", "architecture", "model_type"), [
    ({}, "MistralForCausalLM", "mistral"), ({"model_type": "transformer"}, "MistralForCausalLM", "mistral"),
    ({"moe": MOE}, "MixtralForCausalLM", "mixtral"), ({"model_type": "mamba"}, "Mamba2ForCausalLM", "mamba2"),
    ({"moe": MOE | {"num_shared_experts": 0}}, "MixtralForCausalLM", "mixtral"),
    ({"moe": MOE | {"num_shared_experts": 1}}, "MistralLarge3ForCausalLM", "deepseek_v3"),
])
def test_the_architecture_follows_from_the_experts(values, architecture, model_type):
    found = step(name_architecture, **values)

    assert found.values["architectures"] == [architecture]
    assert found.values["model_type"] == model_type


def test_mixtrals_experts_get_its_names_and_what_is_left_over_stays_to_be_reported():
    found = step(name_architecture, moe=MOE | {"expert_parallel": 1, "strange": 2})

    assert (found.values["num_local_experts"], found.values["num_experts_per_tok"]) == (8, 2)
    assert found.origins["num_local_experts"] == "params.json [moe.num_experts]"
    assert found.values["moe"] == {"strange": 2}


@pytest.mark.parametrize(("old", "new"), [
    ("route_every_n", "moe_layer_freq"), ("first_k_dense_replace", "first_k_dense_replace"),
    ("num_experts_per_tok", "num_experts_per_tok"), ("num_experts", "n_routed_experts"),
    ("expert_hidden_dim", "moe_intermediate_size"), ("routed_scale", "routed_scaling_factor"),
    ("num_expert_groups", "n_group"), ("num_expert_groups_per_tok", "topk_group"),
])
def test_experts_with_shared_ones_get_the_names_of_deepseek(old, new):
    found = step(name_architecture, moe={"num_shared_experts": 2, old: 3})

    assert found.values[new] == 3 and found.origins[new] == f"params.json [moe.{old}]"
    assert found.values["n_shared_experts"] == 2
    assert (found.values["norm_topk_prob"], found.values["scoring_func"]) == (True, "softmax")
    assert "moe" not in found.values


# Rotary positions


def test_yarn_becomes_rope_parameters():
    yarn = {"factor": 4, "original_max_position_embeddings": 64, "beta": 32, "alpha": 2, "apply_scale": True}

    found = step(place_yarn, yarn=yarn)

    assert found.values == {"rope_parameters": {
        "rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 2,
        "mscale_all_dim": 1}}
    assert found.origins["rope_parameters.beta_fast"] == "params.json [yarn.beta]"


def test_yarn_without_its_scale_has_an_attention_factor_of_1():
    assert step(place_yarn, yarn={"factor": 4, "apply_scale": False}).values["rope_parameters"]["attention_factor"] == 1


@pytest.mark.parametrize(("key", "value"), [("gamma", 1), ("apply_scale", "no")])
def test_yarn_with_a_key_that_it_does_not_have_is_refused(key, value):
    with pytest.raises(ConfigError, match=rf"^yarn\.{key} = "):
        step(place_yarn, yarn={"factor": 4, key: value})


@pytest.mark.parametrize("lost", ["original_max_position_embeddings", "beta"])
def test_llama_4_scaling_needs_both_of_its_keys(lost):
    scaling = {"original_max_position_embeddings": 64, "beta": 0.1}
    assert step(check_llama_4, llama_4_scaling=scaling).values == {"llama_4_scaling": scaling}

    with pytest.raises(ConfigError, match=rf"^llama_4_scaling\.{lost} = None"):
        step(check_llama_4, llama_4_scaling={key: value for key, value in scaling.items() if key != lost})


def test_a_dense_model_with_llama_4_scaling_is_refused_not_run_without_it(tmp_path):
    path = write_params(tmp_path, llama_4_scaling={"original_max_position_embeddings": 64, "beta": 0.1})

    with pytest.raises(ConfigError, match=r"^llama_4_scaling = "):
        description_of(resolved(path))


# Encoders


@pytest.mark.parametrize(("given", "place"), [
    ({"vision_encoder": {"hidden_size": 8}}, "vision_encoder"),
    ({"multimodal": {"vision_encoder_args": {"hidden_size": 8}}}, "multimodal.vision_encoder_args")])
def test_an_encoder_of_images_stands_beside_the_language_model(given, place):
    found = step(nest_encoder, hidden_size=64, architectures=["MistralForCausalLM"], **given)

    assert found.values == {"architectures": ["PixtralForConditionalGeneration"], "model_type": "pixtral",
                            "text_config": {"hidden_size": 64, "architectures": ["MistralForCausalLM"]},
                            "vision_config": {"hidden_size": 8}}
    assert found.origins["vision_config"] == f"params.json [{place}]"
    assert found.origins["text_config.hidden_size"] == "params.json [hidden_size]"


@pytest.mark.parametrize("encoder", [{"vision_encoder": {"hidden_size": 8}},
                                     {"multimodal": {"whisper_model_args": WHISPER}}], ids=["images", "audio"])
def test_quantization_of_a_model_with_an_encoder_is_that_of_the_whole(tmp_path, encoder):
    path = write_params(tmp_path, quantization={"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}, **encoder)
    expected = {"quant_method": "fp8", "activation_scheme": "static"}

    config = get_config(path, trust_remote_code=False, config_format="mistral")

    assert config.quantization_config == expected
    assert adapt_config_dict(json.loads((path / "params.json").read_text()))["quantization_config"] == expected


@pytest.mark.parametrize("name", ["compressed-tensors", "compressed_tensors"])
def test_both_spellings_of_compressed_tensors_are_taken(name):
    found = step(place_quantization, quantization={"quant_method": name, "format": "x"})

    assert found.values == {"quantization_config": {"quant_method": "compressed-tensors", "format": "x"}}


@pytest.mark.parametrize(("causal", "architecture", "model_type"), [
    ({}, "VoxtralForConditionalGeneration", "voxtral"), ({"causal": True}, "VoxtralRealtimeGeneration",
                                                         "voxtral_realtime")])
def test_an_encoder_of_audio_gets_the_names_of_whisper(causal, architecture, model_type):
    args = WHISPER | {"encoder_args": WHISPER["encoder_args"] | causal}

    found = step(nest_encoder, hidden_size=64, multimodal={"whisper_model_args": args, "other": 1})

    assert (found.values["architectures"], found.values["model_type"]) == ([architecture], model_type)
    assert found.values["audio_config"] == causal | {
        "num_mel_bins": 80, "window_size": 400, "sampling_rate": 16000, "hop_length": 160, "downsample_factor": 4,
        "d_model": 8, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "vocab_size": 20,
        "is_encoder_decoder": False}
    assert found.values["text_config"] == {"hidden_size": 64, "multimodal": {"other": 1}}
    prefix = "params.json [multimodal.whisper_model_args.encoder_args."
    assert found.origins["audio_config.d_model"] == f"{prefix}dim]"
    assert found.origins["audio_config.hop_length"] == f"{prefix}audio_encoding_args.hop_length]"


# The config.json beside it


def test_keys_that_the_params_lack_come_from_config_json_and_never_overwrite():
    beside = {"hidden_size": 1, "eos_token_id": 2, "rope_theta": 5.0, "text_config": {"a": 1}}

    config = adapt_config_dict(PARAMS, beside)

    assert (config["hidden_size"], config["eos_token_id"]) == (64, 2)
    assert config["rope_parameters"]["rope_theta"] == 1e6
    assert "text_config" not in config


@pytest.mark.parametrize(("own", "beside", "expected"), [
    ({}, {"rope_theta": 5.0}, {"rope_theta": 5.0, "rope_type": "default"}),
    ({"rope_theta": 7.0}, {"rope_parameters": {"rope_theta": 5.0, "rope_type": "linear", "factor": 2.0}},
     {"rope_theta": 7.0, "rope_type": "linear", "factor": 2.0}),
    ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}},
     {"rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
     {"rope_theta": 5.0, "rope_type": "yarn", "factor": 4.0}),
])
def test_rotary_keys_are_filled_one_by_one_but_one_scaling_is_not_mixed_with_another(own, beside, expected):
    assert fill(Values(own), beside, "params.json", "config.json").values["rope_parameters"] == expected


def test_without_a_base_anywhere_it_is_10000():
    values = {"architectures": ["MixtralForCausalLM"], "hidden_size": 1, "num_hidden_layers": 1,
              "num_attention_heads": 1, "vocab_size": 1}

    assert set_defaults(Values(values), "params.json").values["rope_theta"] == 10000.0


@pytest.mark.parametrize("key", ["dim", "n_layers", "n_heads", "vocab_size"])
def test_a_size_that_is_in_neither_file_is_an_error_in_the_formats_own_word(key):
    with pytest.raises(ConfigError, match=rf"^{key} = None \(in params\.json\): expected a value"):
        adapt_config_dict({name: value for name, value in PARAMS.items() if name != key})


def test_an_error_about_a_value_of_config_json_names_that_file(tmp_path):
    path = write_params(tmp_path)
    write_model(path, num_attention_heads=4, final_logit_softcapping="loud")

    with pytest.raises(ConfigError, match=r"^final_logit_softcapping = 'loud' \(in .*/config\.json\)"):
        description_of(resolved(path))


# From end to end


def test_a_key_that_nobody_knows_is_reported(tmp_path, caplog):
    description_of(resolved(write_params(tmp_path, strange=3)))

    assert "params.json: keys that weft does not know and does not use: strange = 3" in caplog.text


def test_overrides_and_objects_work_as_for_config_json(tmp_path):
    path = write_params(tmp_path)

    def wider(config):
        config.num_hidden_layers = 2
        return config

    assert resolved(path, hf_overrides={"num_hidden_layers": 3}).hf_config["num_hidden_layers"] == 3
    assert resolved(path, hf_overrides=wider).hf_config["num_hidden_layers"] == 2
    config = get_config(path, False, hf_overrides_kw={"num_hidden_layers": 3})
    assert (config.hidden_size, config.num_hidden_layers, config.model_type) == (64, 3, "mistral")


def test_an_architecture_that_nobody_describes_is_the_usual_error(tmp_path):
    model = resolved(write_params(tmp_path, moe=MOE | {"num_shared_experts": 1}))

    assert model.hf_config["n_routed_experts"] == 8
    with pytest.raises(ConfigError, match=r"^architectures = .*MistralLarge3ForCausalLM"):
        description_of(model)

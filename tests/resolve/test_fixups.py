"""What architectures need of their config beyond the file: a table of small functions, each change with its origin."""

import pytest

from weft.errors import ConfigError
from weft.resolve import fixups
from weft.resolve.config_file import normalise
from weft.resolve.fixups import VerifyAndUpdateConfig, fix_engine_config

SIZES = {"hidden_size": 768, "num_attention_heads": 12, "max_position_embeddings": 512}


def fixed(architecture, overrides=None, **values):
    return normalise({"architectures": [architecture]} | values, overrides or {}, "c.json")


@pytest.mark.parametrize(("architecture", "values", "expected"), [
    ("Gemma3TextModel", {"use_bidirectional_attention": True}, {"is_causal": False}),
    ("Gemma3TextModel", {}, {"is_causal": True}),
    ("VoyageQwen3BidirectionalEmbedModel", {}, {"is_causal": False}),
    ("JinaEmbeddingsV5Model", {}, {"is_causal": True}),
    ("LlamaBidirectionalModel", {"pooling": "avg"},
     {"is_causal": False, "pooler_config": {"seq_pooling_type": "MEAN"}}),
    ("LlamaBidirectionalForSequenceClassification", {"pooling": "last"},
     {"is_causal": False, "pooler_config": {"seq_pooling_type": "LAST"}}),
    ("Qwen2ForProcessRewardModel", {}, {"pooler_config": {"step_tag_id": 151651}}),
    ("Qwen2ForRewardModel", {}, {"pooler_config": {"use_activation": False}}),
    ("JambaForSequenceClassification", {}, {"pooler_config": {"use_activation": False}}),
    ("JinaVLForRanking", {}, {"num_labels": 1, "pooler_config": {"logit_mean": 2.65}}),
    ("GteNewModel", SIZES | {"hidden_act": "gelu", "rope_theta": 160000.0}, {
        "hidden_act": "geglu", "rotary_kwargs": {
            "head_size": 64, "rotary_dim": 64, "max_position": 512,
            "rope_parameters": {"rope_type": "default", "rope_theta": 160000.0}}}),
    ("NomicBertModel", {"n_embd": 768, "n_head": 12, "n_positions": 2048, "activation_function": "swiglu",
                        "rotary_emb_fraction": 0.5, "rotary_emb_base": 1000}, {
        "hidden_act": "silu", "hidden_size": 768, "rotary_kwargs": {
            "head_size": 64, "rotary_dim": 32, "max_position": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000}}}),
    ("XLMRobertaModel", SIZES | {"position_embedding_type": "rotary", "rotary_emb_base": 20000.0}, {
        "rotary_kwargs": {"head_size": 64, "rotary_dim": 64, "max_position": 512,
                          "rope_parameters": {"rope_type": "default", "rope_theta": 20000.0}}}),
    ("XLMRobertaModel", SIZES, {}),
    ("DbrxForCausalLM", {"attn_config": {"rope_theta": 5e5}},
     {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
    ("DbrxForCausalLM", {"attn_config": {"clip_qkv": 8}}, {}),
    ("DbrxForCausalLM", {"attn_config": {"rope_theta": 5e5}, "rope_theta": 1e4}, {}),
    ("LlamaForCausalLM", SIZES, {}),
])
def test_an_architecture_gets_what_it_needs_and_nothing_else(architecture, values, expected):
    found = fixed(architecture, **values)

    of_fixup = {key for key, origin in found.origins.items() if origin == f"fixup of {architecture}"}
    assert {key: found.values[key] for key in expected} == expected
    assert of_fixup >= set(expected) - {"num_labels"} and (of_fixup or not expected)


def test_what_the_user_overrode_stays():
    found = fixed("VoyageQwen3BidirectionalEmbedModel", {"is_causal": True})

    assert found.values["is_causal"] is True
    assert found.origins["is_causal"] == "override"


def test_a_value_that_a_fixup_cannot_use_is_an_error_with_what_is_accepted():
    with pytest.raises(ConfigError, match=r"pooling = 'sum' \(in c\.json\): expected one of avg, cls, last"):
        fixed("LlamaBidirectionalModel", pooling="sum")


def test_a_users_fixup_sees_the_config_as_attributes_and_may_replace_the_engines(monkeypatch):
    class Mine(VerifyAndUpdateConfig):
        @staticmethod
        def verify_and_update_model_config(model_config):
            model_config.hf_config.window = model_config.hf_config.hidden_size // 2

        @staticmethod
        def verify_and_update_config(config):
            return "another"

    class Config:
        class model:
            architecture = "MineForCausalLM"

    monkeypatch.setitem(fixups.MODELS_CONFIG_MAP, "MineForCausalLM", Mine)

    assert fixed("MineForCausalLM", hidden_size=8).values["window"] == 4
    assert fix_engine_config(Config) == "another"

"""The table of known architectures and its views in vLLM's form."""

import re

import pytest
import transformers

from weft.architectures.registry import families
from weft.models import registry
from weft.models.registry.table import GROUPS, STATES, TABLE

VIEWS = [name for name in registry.__all__ if name.endswith("_MODELS")]
BY_VERSION = ("_PREVIOUSLY_SUPPORTED_MODELS", "_OOT_SUPPORTED_MODELS")


def test_every_row_is_whole():
    for row in TABLE:
        assert re.fullmatch(r"\w+", row.name) and row.group in GROUPS and row.state in STATES
        assert bool(row.module) == bool(row.class_name)
        assert row.state in ("native", "transformers") or row.note or row.name == "VoxtralStreamingGeneration"
        assert row.module or row.state in ("dropped", "plugin")
    assert len({(row.name, row.group) for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("name", sorted(set(VIEWS) - set(BY_VERSION)))
def test_a_view_has_module_and_class_for_each_architecture(name):
    view = getattr(registry, name)

    assert view and all(module and cls for module, cls in view.values())
    assert view.keys() <= registry._VLLM_MODELS.keys()


@pytest.mark.parametrize(("view", "architecture", "expected"), [
    ("_TEXT_GENERATION_MODELS", "LlamaForCausalLM", ("llama", "LlamaForCausalLM")),
    ("_TEXT_GENERATION_MODELS", "QWenLMHeadModel", ("qwen", "QWenLMHeadModel")),
    ("_TEXT_GENERATION_MODELS", "BloomForCausalLM", ("bloom", "BloomForCausalLM")),
    ("_TEXT_GENERATION_MODELS", "FalconMambaForCausalLM", ("mamba", "MambaForCausalLM")),
    ("_EMBEDDING_MODELS", "BertModel", ("bert", "BertEmbeddingModel")),
    ("_SEQUENCE_CLASSIFICATION_MODELS", "XLMRobertaForSequenceClassification",
     ("roberta", "RobertaForSequenceClassification")),
    ("_TOKEN_CLASSIFICATION_MODELS", "BertForTokenClassification", ("bert", "BertForTokenClassification")),
    ("_REWARD_MODELS", "Qwen2ForRewardModel", ("qwen2_rm", "Qwen2ForRewardModel")),
    ("_MULTIMODAL_MODELS", "Phi3VForCausalLM", ("phi3v", "Phi3VForCausalLM")),
    ("_MULTIMODAL_MODELS", "QwenVLForConditionalGeneration", ("qwen_vl", "QwenVLForConditionalGeneration")),
    ("_SPECULATIVE_DECODING_MODELS", "EagleLlamaForCausalLM", ("llama_eagle", "EagleLlamaForCausalLM")),
    ("_SPECULATIVE_DECODING_MODELS", "MedusaModel", ("medusa", "Medusa")),
    ("_TRANSFORMERS_SUPPORTED_MODELS", "SmolLM3ForCausalLM", ("transformers", "TransformersForCausalLM")),
    ("_TRANSFORMERS_BACKEND_MODELS", "TransformersMoEForCausalLM", ("transformers", "TransformersMoEForCausalLM")),
])
def test_an_entry_of_each_view(view, architecture, expected):
    assert getattr(registry, view)[architecture] == expected


def test_the_finer_views_make_up_the_cross_encoders():
    finer = ("_SEQUENCE_CLASSIFICATION_MODELS", "_TOKEN_CLASSIFICATION_MODELS", "_REWARD_MODELS",
             "_LATE_INTERACTION_MODELS")

    assert {name for view in finer for name in getattr(registry, view)} == registry._CROSS_ENCODER_MODELS.keys()


def test_dropped_models_have_their_last_version_and_plugins_their_address():
    assert registry._PREVIOUSLY_SUPPORTED_MODELS["BaichuanForCausalLM"] == "0.23.0"
    assert registry._OOT_SUPPORTED_MODELS["BartModel"].endswith("/bart-plugin")


def test_every_name_that_weft_describes_is_known():
    own_code = {"NewModel", "NewForMaskedLM", "JinaBertModel", "JinaBertForMaskedLM"}       # it comes with checkpoints
    unknown = families().keys() - {row.name for row in TABLE} - own_code

    assert {name for name in unknown if not hasattr(transformers, name)} == set()

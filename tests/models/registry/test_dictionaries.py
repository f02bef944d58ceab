"""Writing to vLLM's private dictionaries of architectures registers the model that the value means."""

import pytest

from weft.architectures.registry import families
from weft.errors import ConfigError, NotBuiltError
from weft.models.registry import ModelRegistry, table
from weft.models.registry.dictionaries import ModelDictionary


@pytest.fixture
def models():
    return ModelDictionary("_MULTIMODAL_MODELS", table._TEXT_GENERATION_MODELS)


def test_another_name_of_a_model_that_weft_describes_runs_the_description(models):
    models["Mine"] = ("llama", "LlamaForCausalLM")

    assert models["Mine"] == ("llama", "LlamaForCausalLM")
    assert ModelRegistry.find("Mine")[1].target() is families()["LlamaForCausalLM"].describe


def test_a_class_that_files_borrow_is_found_by_module_and_name(models):
    models["Mine"] = ("llama", "LlamaModel")

    assert ModelRegistry.models["Mine"].portable() == "weft.models.library.llama:LlamaModel"


def test_update_registers_too(models, package):
    models.update(Mine=("lazy_models.one", "Lazy"), Other="lazy_models.one:Lazy")

    assert ModelRegistry.models["Mine"].portable() == ModelRegistry.models["Other"].portable()


def test_a_registered_model_stays_and_the_line_is_accepted(models):
    ModelRegistry.register_model("Mine", "mine:Model")

    models["Mine"] = ("mine", "Model")

    assert ModelRegistry.models["Mine"].portable() == "mine:Model"
    assert "Mine" in models


def test_a_pair_without_code_is_refused_and_not_kept(models):
    with pytest.raises(ConfigError, match=r"_MULTIMODAL_MODELS\['Mine'\].*register_model"):
        models["Mine"] = ("molmo2", "Molmo2")

    assert "Mine" not in models


def test_nothing_can_be_deleted(models):
    with pytest.raises(NotBuiltError, match="register_model"):
        models.pop("LlamaForCausalLM")
    assert models.pop("Unknown", None) is None


def test_they_join_like_dictionaries(models):
    assert {**models, "A": 1}.keys() == (models | {"A": 1}).keys() == {*models, "A"}

"""Every public name is there, and importing the package stays light."""

from __future__ import annotations

import importlib

import pytest

import weft

VLLM_NAMES = ["LLM", "SamplingParams", "RequestOutput", "CompletionOutput", "EngineArgs", "AsyncEngineArgs",
              "LLMEngine", "AsyncLLMEngine", "PromptType", "TextPrompt", "TokensPrompt", "__version__"]


@pytest.mark.parametrize("name", [*VLLM_NAMES, "AsyncLLM", "BeamSearchParams", "RequestError", "EngineDeadError"])
def test_a_public_name_is_listed_and_can_be_imported(name):
    assert name in weft.__all__
    assert getattr(importlib.import_module("weft"), name) is not None


def test_every_listed_name_exists():
    assert all(hasattr(weft, name) for name in weft.__all__)
    assert set(weft.__all__) <= set(dir(weft))


def test_names_of_vllm_that_mean_the_same_are_the_same():
    assert weft.AsyncLLMEngine is weft.AsyncLLM
    assert weft.AsyncEngineArgs is weft.EngineArgs


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="LLLM"):
        _ = weft.LLLM

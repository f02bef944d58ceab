"""Every public name is there, and importing the package stays light."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import weft
import weft.resolve

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


@pytest.mark.parametrize("package", [weft, weft.resolve], ids=lambda package: package.__name__)
def test_a_type_checker_finds_every_listed_name_where_it_lives(package):
    [block] = [node for node in ast.parse(Path(package.__file__).read_text()).body if isinstance(node, ast.If)]
    froms = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    places = {alias.name: node.module for node in froms for alias in node.names}
    aliases = {node.targets[0].id: places[node.value.id] for node in block.body if isinstance(node, ast.Assign)}

    inside = "" if package is weft else f"{package.__name__}."
    assert places | aliases == {name: inside + home for name, home in package._HOMES.items()}
    assert set(package.__all__) - {"__version__"} == set(package._HOMES)


def test_the_package_says_that_it_is_typed():
    assert Path(weft.__file__).with_name("py.typed").is_file()

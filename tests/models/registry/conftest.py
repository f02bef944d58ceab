"""A registry of its own for each test, and a package of models that nothing has imported."""

import sys

import pytest

from weft.models.registry import ModelRegistry
from weft.models.registry.registry import Entries

SOURCE = """
from pathlib import Path

from programmed_llama import MyLlama

from weft.architectures.llama import llama
from weft.architectures.registry import architecture

with open(Path(__file__).with_name("runs"), "a") as file:
    file.write("x")


class Lazy(MyLlama):
    supports_lora = True
    is_hybrid = True

    @classmethod
    def get_mamba_state_shape_from_config(cls, vllm_config):
        return ()


class NoLogits(MyLlama):
    compute_logits = None


@architecture("DescribedForCausalLM")
def described(c):
    \"\"\"A description.\"\"\"
    return llama(c)
"""


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """ModelRegistry.models, empty, for this test alone."""
    monkeypatch.setattr(ModelRegistry, "models", Entries())
    return ModelRegistry.models


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a package `lazy_models` with a module `one`; `runs` has a letter for each import of `one`."""
    folder = tmp_path / "lazy_models"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text(SOURCE)
    (folder / "broken.py").write_text("import json\n\njson.loads('{')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WEFT_CACHE_ROOT", str(tmp_path / "cache"))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "lazy_models"]:
        del sys.modules[name]

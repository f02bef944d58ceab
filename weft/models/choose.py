"""`choose_model`: which class or description runs a resolved model: an option's, a file's, or the registry's."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from weft.architectures.registry import Architecture, architectures_of
from weft.config.engine_config import ModelConfig
from weft.errors import ConfigError
from weft.extend.python_file import load_python_file
from weft.models.found import found_architecture
from weft.models.programmed.find_class import class_in, find_class
from weft.models.registry import ModelRegistry
from weft.models.registry.entries import Target

if TYPE_CHECKING:
    from torch import nn


def choose_model(model: ModelConfig) -> type[nn.Module] | Architecture:
    """The class of a programmed model, or a description. Runs the model file, if there is one.

    What the option `model_class` names and a class in the model file serve any architecture. Else the first name of the
    config's `architectures` counts that the model file describes, or that the registry knows; else a description that
    `weft describe` found for the model's class.
    ConfigError for names that nobody knows, and for a model file that does not run or has nothing to offer.
    """
    names = model.hf_config["architectures"]
    if model.model_class is not None:
        return _as_chosen(names[0], find_class(model.model_class))
    file = model.model_file
    code = None if file is None else load_python_file(Path(file), field="model_file")
    own = {} if code is None else architectures_of(code)
    if code is not None and not own:
        return _class_of(code)
    for name in names:
        if name in own:
            return own[name]
        entry = ModelRegistry.entry_of(name) or ModelRegistry.body_of(name)
        if entry is not None:
            return _as_chosen(name, entry.target())
    found = found_architecture(model)
    if found is not None:
        return found
    raise ModelRegistry.refusal(names, source=model.config_source)


def _as_chosen(name: str, target: Target) -> type[nn.Module] | Architecture:
    return target if isinstance(target, type) else Architecture(name, target)


def _class_of(code: ModuleType) -> type[nn.Module]:
    """The programmed model of a model file. ConfigError when the file has none, and no description either."""
    cls = class_in(code)
    if cls is None:
        raise ConfigError("model_file", code.__file__, expected='a file with a function marked @architecture("Name"), '
                          "or with the class of a programmed model", hint="docs/adding-a-model.md shows one.")
    return cls

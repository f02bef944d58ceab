"""From `model_class` or a model file to the class of a programmed model, with its interface checked.

Source of the interface: vLLM's models since 0.11.1 (`embed_input_ids`, `forward`, `compute_logits`, `load_weights`).
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from weft.errors import ConfigError
from weft.extend.python_file import load_python_file

# How the engine calls each method: (arguments by place, arguments by name).
METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "__init__": ((), ("vllm_config", "prefix")),
    "embed_input_ids": (("input_ids",), ()),
    "forward": (("input_ids", "positions"), ("intermediate_tensors", "inputs_embeds")),
    "compute_logits": (("hidden_states",), ()),
    "load_weights": (("weights",), ()),
}


def find_class(model_class: Any) -> type[nn.Module]:
    """The class. model_class: the class itself, "module:Class" or "path/file.py:Class".

    ConfigError when there is none, or when a method is missing or has another signature.
    """
    if isinstance(model_class, str):
        return check_class(_by_name(model_class))
    return check_class(model_class)


def class_in(module: ModuleType) -> type[nn.Module] | None:
    """The one programmed model that a model file defines; None: it defines none. ConfigError when it has several."""
    found = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, nn.Module)
             and value.__module__ == module.__name__ and hasattr(value, "compute_logits")]
    if len(found) > 1:
        names = ", ".join(cls.__name__ for cls in found)
        raise ConfigError("model_file", module.__file__, expected="a file with one model, or FILE.py:Class",
                          hint=f"It defines {names}.")
    return check_class(found[0]) if found else None


def check_class(cls: Any) -> type[nn.Module]:
    """The class, if a model can be made and driven by it. ConfigError names the method and the expected signature."""
    name = getattr(cls, "__qualname__", repr(cls))
    if not inspect.isclass(cls) or not issubclass(cls, nn.Module):
        raise ConfigError("model_class", name, expected="a class that is a torch.nn.Module")
    for method in METHODS:
        function = getattr(cls, method, None)
        if function is None or function is getattr(nn.Module, method, None):
            raise ConfigError("model_class", name, expected=f"a method {_signature(method)}",
                              hint="docs/adding-a-model.md has a complete example.")
        _check_call(name, method, function)
    return cls


def _check_call(name: str, method: str, function: Any) -> None:
    places, names = METHODS[method]
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):                           # a method written in C says nothing about itself
        return
    try:
        signature.bind("self", *places, **dict.fromkeys(names))
    except TypeError as error:
        raise ConfigError(f"model_class.{method}", f"{name}.{method}{signature}", expected=_signature(method),
                          hint=f"The engine's call fails: {error}.") from error


def _signature(method: str) -> str:
    places, names = METHODS[method]
    return f"{method}({', '.join(('self', *places, *('*' for _ in names[:1] if not places), *names))})"


def _by_name(text: str) -> Any:
    place, _, name = text.rpartition(":")
    if not place or not name.isidentifier():
        raise ConfigError("model_class", text, expected='a class, "module:Class" or "path/file.py:Class"')
    if place.endswith(".py"):
        module = load_python_file(Path(place), field="model_class")
    else:
        try:
            module = importlib.import_module(place)
        except Exception as error:
            raise ConfigError("model_class", text, expected="a module that can be imported",
                              hint=f"{type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        near = ", ".join(key for key, value in vars(module).items() if inspect.isclass(value)) or "no class"
        raise ConfigError("model_class", text, expected=f"a class of {place}", hint=f"It has {near}.")
    return getattr(module, name)

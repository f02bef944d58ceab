"""From `model_class` or a model file to the class of a programmed model, or the description, that is to be run."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from weft.errors import ConfigError
from weft.extend.named_object import load_named
from weft.models.interface_check import check_class, is_torch_module
from weft.models.interfaces_base import is_pooling_model
from weft.models.registry.entries import Target, checked

if TYPE_CHECKING:
    from torch import nn


def find_class(model_class: Any) -> Target:
    """The class, or the function marked by @architecture. model_class: itself, "module:Name" or "path/file.py:Name".

    ConfigError when there is none, or when a method is missing or has another signature.
    """
    found = load_named(model_class, field="model_class") if isinstance(model_class, str) else model_class
    return checked(found, field="model_class")


def class_in(module: ModuleType) -> type[nn.Module] | None:
    """The one programmed model that a model file defines; None: it defines none. ConfigError when it has several."""
    found = [value for value in vars(module).values() if is_torch_module(value)
             and value.__module__ == module.__name__ and (hasattr(value, "compute_logits") or is_pooling_model(value))]
    if len(found) > 1:
        names = ", ".join(cls.__name__ for cls in found)
        raise ConfigError("model_file", module.__file__, expected="a file with one model, or FILE.py:Class",
                          hint=f"It defines {names}.")
    return check_class(found[0]) if found else None

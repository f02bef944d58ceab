"""Entries of the registry: a class or description that is there, or one that is known by name and imported when used.

Both answer alike. A model is a programmed class (a torch module) or a function marked by `@architecture`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from weft.architectures.registry import Architecture, Describe, is_description
from weft.extend.model_api import check_model_api
from weft.extend.named_object import load_named, portable_name
from weft.models.interface_check import check_class
from weft.models.registry.look import look
from weft.models.registry.model_info import ModelInfo

FIELD = "register_model"      # the field that errors of entries name
Target = type | Describe


@runtime_checkable
class Entry(Protocol):
    """A registered model."""

    def target(self) -> Target:
        """The class or the description. ConfigError for one that cannot be imported or does not fit the interface."""
        ...

    def inspect_model_cls(self, config: Mapping[str, Any] | None = None) -> ModelInfo:
        """The model's abilities. config: its config's values, which a description reads; None: sample sizes."""
        ...

    def load_model_cls(self) -> type:
        """The class that runs the model: the programmed one, or weft's for described models."""
        ...

    def portable(self) -> str | None:
        """"module:Name" or "path/file.py:Name", by which another process finds the model; None: only this one can."""
        ...

    def words(self) -> str:
        """The model in words, for messages."""
        ...


@dataclass(frozen=True, slots=True)
class _RegisteredModel:
    """A model whose code is loaded.

    interfaces: None for a description, whose abilities depend on the config. given: what was registered, where
    `model_cls` was made from it by the check of interfaces; None: `model_cls` itself.
    """

    interfaces: ModelInfo | None
    model_cls: Target
    given: Target | None = None

    @classmethod
    def from_model_cls(cls, model: Target) -> _RegisteredModel:
        """Checked against the interfaces. ConfigError for what no engine could drive."""
        found = checked(model)
        return cls(ModelInfo.from_model_cls(found) if isinstance(found, type) else None, found, model)

    def target(self) -> Target:
        return self.model_cls

    def inspect_model_cls(self, config: Mapping[str, Any] | None = None) -> ModelInfo:
        return self.interfaces or ModelInfo.of_description(_as_architecture(self.model_cls), config)

    def load_model_cls(self) -> type:
        return running_class(self.model_cls)

    def portable(self) -> str | None:
        return portable_name(self.given or self.model_cls)

    def words(self) -> str:
        given = self.given or self.model_cls
        return f"{given.__module__}.{given.__qualname__}"


@dataclass(slots=True)
class _LazyRegisteredModel:
    """A model known by name. Its module is imported by `target` and `load_model_cls` only, and once.

    module_name: a module, or the path of a file that ends in .py. class_name: of the class or the description.
    """

    module_name: str
    class_name: str
    _target: Target | None = None

    def target(self) -> Target:
        if self._target is None:
            self._target = checked(load_named(self.portable(), field=FIELD))
        return self._target

    def inspect_model_cls(self, config: Mapping[str, Any] | None = None) -> ModelInfo:
        if self._target is None and self.module_name not in sys.modules:
            info = look(self.module_name, self.class_name)
            if info is not None:
                return info
        return _RegisteredModel.from_model_cls(self.target()).inspect_model_cls(config)

    def load_model_cls(self) -> type:
        return running_class(self.target())

    def portable(self) -> str:
        return f"{self.module_name}:{self.class_name}"

    def words(self) -> str:
        return self.portable()


def checked(model: Any, *, field: str = FIELD) -> Target:
    """The model, checked as far as can be known without a config.

    ConfigError naming `field` for what is neither a class nor a description, and for what no engine could drive.
    """
    if is_description(model):
        check_model_api(model, model.__qualname__)
        return model
    return check_class(model, field=field)


def running_class(target: Target) -> type:
    """The class that runs a target. Imports torch."""
    if isinstance(target, type):
        return target
    is_encoder = ModelInfo.of_description(_as_architecture(target), None).is_pooling_model
    name = "weft.models.described_pooling:DescribedPooling" if is_encoder else "weft.models.described:Described"
    return load_named(name, field=FIELD)


def _as_architecture(target: Any) -> Architecture:
    return Architecture(target.__name__, target)

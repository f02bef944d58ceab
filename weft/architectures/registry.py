"""Registry: maps architecture names of a config.json to the functions that describe them.

`@architecture("Qwen3ForCausalLM")` marks a function that turns a ConfigReader into a spec. `families()` collects weft's
own functions once. What a user's model file or `ModelRegistry` adds, `models/choose.py` and `models/registry/` know.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

from weft.architectures.reader import ConfigReader
from weft.architectures.spec import ModelSpec

_MARK = "__weft_architectures__"      # function attribute that holds the architecture names
Describe = Callable[[ConfigReader], ModelSpec]
S = TypeVar("S", bound=ModelSpec)


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture name of a config.json, and the function that describes it.

    reads_defaults: the function reads keys that a config.json may lack, as the config class of Transformers fills them
    in.
    """

    name: str
    describe: Describe
    reads_defaults: bool = False

    @property
    def summary(self) -> str:
        """The first line of the function's docstring, up to "Source:"."""
        return (self.describe.__doc__ or "").strip().split("\n")[0].split(" Source:")[0]


def architecture(*names: str) -> Callable[[Callable[[ConfigReader], S]], Callable[[ConfigReader], S]]:
    """Decorator: marks a function as the description of these architecture names."""

    def mark(describe: Callable[[ConfigReader], S]) -> Callable[[ConfigReader], S]:
        describe.__dict__[_MARK] = names
        return describe

    return mark


def architectures_of(module: ModuleType) -> dict[str, Architecture]:
    """{architecture name: Architecture} of the marked functions that a module defines."""
    return {
        name: Architecture(name, value)
        for value in vars(module).values()
        if getattr(value, "__module__", None) == module.__name__
        for name in _marks(value)
    }


def is_description(value: Any) -> bool:
    """True for a function marked by `@architecture`."""
    return bool(_marks(value))


def names_of(entry: Architecture) -> tuple[str, ...]:
    """All names that the description of an architecture serves."""
    return _marks(entry.describe) or (entry.name,)


def _marks(value: Any) -> tuple[str, ...]:
    return getattr(value, _MARK, ()) if callable(value) else ()


@cache
def families() -> Mapping[str, Architecture]:
    """{architecture name: Architecture} for all of weft's families, sorted by name."""
    import weft.architectures as package

    found: dict[str, Architecture] = {}
    for info in pkgutil.iter_modules(package.__path__):
        for name, entry in architectures_of(importlib.import_module(f"{package.__name__}.{info.name}")).items():
            if name in found:
                raise ValueError(f"architecture {name} is described twice, the second time in {info.name}.py")
            found[name] = entry
    return MappingProxyType(dict(sorted(found.items())))

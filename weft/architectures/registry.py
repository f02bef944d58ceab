"""Which function describes which architecture name of a config.json.

`@architecture("Qwen3ForCausalLM")` marks a function from a ConfigReader to a spec. weft's own are found once by
`families()`; an engine that loads a model file adds that file's to a copy (`describe.py`).
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Any

from weft.architectures.spec import ModelSpec
from weft.errors import ConfigError
from weft.resolve.reader import ConfigReader

_MARK = "__weft_architectures__"      # attribute of a function: the names that it describes
Describe = Callable[[ConfigReader], ModelSpec]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A name of `config.json`'s `architectures` and the function that describes it."""

    name: str
    describe: Describe

    @property
    def summary(self) -> str:
        """First sentence of the function's docstring."""
        return (self.describe.__doc__ or "").strip().split("\n")[0].split(" Source:")[0]


def architecture(*names: str) -> Callable[[Describe], Describe]:
    """Mark a function as the description of these architecture names."""

    def mark(describe: Describe) -> Describe:
        describe.__dict__[_MARK] = names
        return describe

    return mark


def architectures_of(module: ModuleType) -> dict[str, Architecture]:
    """The marked functions defined in a module, by architecture name."""
    return {
        name: Architecture(name, value)
        for value in vars(module).values()
        if getattr(value, "__module__", None) == module.__name__
        for name in _marks(value)
    }


def _marks(value: Any) -> tuple[str, ...]:
    return getattr(value, _MARK, ()) if callable(value) else ()


@cache
def families() -> Mapping[str, Architecture]:
    """Every architecture that weft describes, by name."""
    import weft.architectures as package

    found: dict[str, Architecture] = {}
    for info in pkgutil.iter_modules(package.__path__):
        for name, entry in architectures_of(importlib.import_module(f"{package.__name__}.{info.name}")).items():
            if name in found:
                raise ValueError(f"architecture {name} is described twice, the second time in {info.name}.py")
            found[name] = entry
    return MappingProxyType(dict(sorted(found.items())))


def find(names: list[str], known: Mapping[str, Architecture], *, source: str) -> Architecture:
    """The first known architecture of a config's list. ConfigError when none is known, with the nearest names."""
    for name in names:
        if name in known:
            return known[name]
    near = [m for n in names for m in difflib.get_close_matches(n, known, n=3, cutoff=0.6)]
    hint = f"Nearest: {', '.join(dict.fromkeys(near))}. " if near else ""
    hint += "Describe it in a file (docs/adding-a-model.md) and pass --model-file."
    raise ConfigError("architectures", names, expected=f"one of the {len(known)} that `weft models` lists",
                      source=source, hint=hint)

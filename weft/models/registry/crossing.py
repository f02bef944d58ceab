"""How registered models reach the engine's process: by name. Plugins register theirs in every process themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from weft.errors import ConfigError
from weft.models.registry.entries import FIELD
from weft.models.registry.model_info import ModelInfo
from weft.models.registry.registry import ModelRegistry

Names = dict[str, tuple[str, bool]]      # architecture -> (the model's name, whether another process can load it by it)


def names_to_send(architectures: Sequence[str]) -> Names:
    """What was registered in this process for the names of a config's `architectures`."""
    entries = {name: ModelRegistry.models[name] for name in architectures if name in ModelRegistry.models}
    return {name: (entry.portable() or entry.words(), entry.portable() is not None) for name, entry in entries.items()}


def register_sent(names: Mapping[str, tuple[str, bool]]) -> None:
    """Register what another process sent, after this one's plugins ran.

    A model that only the other process has is one of this process's plugins', or an error when it is used.
    """
    for architecture, (name, is_portable) in names.items():
        if is_portable:
            ModelRegistry.register_model(architecture, name)
        elif architecture not in ModelRegistry.models:
            ModelRegistry.models[architecture] = _Elsewhere(architecture, name)


class _Elsewhere:
    """The entry of a class that only the parent process can reach. Each use is the error that says so."""

    def __init__(self, architecture: str, name: str) -> None:
        self._architecture, self._name = architecture, name

    def target(self) -> NoReturn:
        raise ConfigError(FIELD, self._name, source=self._architecture,
                          expected="a class that another process can import",
                          hint="The engine runs in a process of its own here. Put the class at the top level of a file "
                          'or package and register it as "module:Class" or "path/file.py:Class", or from a plugin.')

    def inspect_model_cls(self, config: Mapping[str, Any] | None = None) -> ModelInfo:
        self.target()

    def load_model_cls(self) -> type:
        self.target()

    def portable(self) -> None:
        return None

    def words(self) -> str:
        return self._name

"""Registries of parts that weft does not have yet: they take what files register, and say that it is not used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("weft")


class _Unused:
    """Takes registrations. parts: what is registered, for the message."""

    def __init__(self, parts: str) -> None:
        self.parts, self.names = parts, []

    def register_module(self, name: str | list[str] | None = None, force: bool = True, module: Any = None) -> Any:
        """As a decorator, or with `module` as a call. Logs the name."""
        self._note(name)
        return (lambda cls: cls) if module is None else module

    def register_lazy_module(self, name: str, module_path: str, class_name: str) -> None:
        """By name. Logs the name."""
        self._note(name)

    def register(self, name: str, *unused: Any, **named: Any) -> Callable[[Any], Any]:
        """As a decorator or a call. Logs the name."""
        self._note(name)
        return lambda cls: cls

    def _note(self, name: Any) -> None:
        if name not in self.names:
            self.names.append(name)
            logger.warning("%s: weft has no %s of others yet, so it is not used", name, self.parts)


ParserManager = _Unused("parsers")
TokenizerRegistry = _Unused("tokenizers")

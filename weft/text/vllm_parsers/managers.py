"""`ToolParserManager` and `ReasoningParserManager`: where files written for vLLM register their parsers.

What is registered is chosen by `--tool-call-parser` and `--reasoning-parser`, as weft's own formats are.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weft.compat.vllm.finder import answering
from weft.extend.python_file import load_python_file
from weft.text.parsing.events import AnswerParser
from weft.text.parsing.kind import ParseRequest
from weft.text.parsing.registry import REASONING_PARSERS, TOOL_PARSERS, ParserRegistry
from weft.text.vllm_parsers.adapter import VllmKind, VllmReasoning, VllmToolCalls
from weft.text.vllm_parsers.bases import ReasoningParser, ToolParser


class ParserManager:
    """Registers the classes of one base. classes: {name: class} of those that were loaded."""

    def __init__(self, base: type, registry: ParserRegistry, plugin_field: str,
                 make_parser: Callable[[Any, ParseRequest], AnswerParser]) -> None:
        self._base, self._registry, self._field, self._make_parser = base, registry, plugin_field, make_parser
        self.classes: dict[str, type] = {}
        self._lazy: dict[str, tuple[str, str]] = {}

    def register_module(self, name: str | list[str] | None = None, force: bool = True,
                        module: type | None = None) -> Any:
        """As a decorator, or with `module` as a call. Without a name, the class's own.

        TypeError for a class of another base; KeyError for a name that is taken, with force False.
        """
        if module is None:
            return lambda cls: self._add(name, cls, force=force)
        return self._add(name, module, force=force)

    def register_lazy_module(self, name: str, module_path: str, class_name: str) -> None:
        """By name: the class is imported when it is used."""
        self._lazy[name] = (module_path, class_name)
        self._registry.add(name, VllmKind(name, lambda: self.find(name), self._make_parser))

    def find(self, name: str) -> type:
        """The class of this name. KeyError if no class was registered under it."""
        if name not in self.classes and name in self._lazy:
            path, class_name = self._lazy[name]
            with answering():
                self.classes[name] = self._checked(getattr(importlib.import_module(path), class_name))
        if name not in self.classes:
            raise KeyError(f"no class is registered as {name!r}; weft's own parsers are no classes")
        return self.classes[name]

    get_tool_parser = get_reasoning_parser = find

    def list_registered(self) -> list[str]:
        """All names."""
        return sorted({*self.classes, *self._lazy})

    def load_file(self, plugin_path: str) -> None:
        """Run a Python file that registers parsers."""
        load_python_file(Path(plugin_path), field=self._field)

    import_tool_parser = import_reasoning_parser = load_file

    def _add(self, name: str | list[str] | None, cls: type, *, force: bool) -> type:
        self._checked(cls)
        for each in [cls.__name__] if name is None else [name] if isinstance(name, str) else name:
            if not force and each in self.classes:
                raise KeyError(f"{each} is already registered at {self.classes[each].__module__}")
            self.classes[each] = cls
            self._registry.add(each, VllmKind(each, lambda: cls, self._make_parser))
        return cls

    def _checked(self, cls: type) -> type:
        if not (isinstance(cls, type) and issubclass(cls, self._base)):
            raise TypeError(f"{cls!r} is no subclass of {self._base.__name__}")
        return cls


ToolParserManager = ParserManager(ToolParser, TOOL_PARSERS, "tool_parser_plugin", VllmToolCalls)
ReasoningParserManager = ParserManager(ReasoningParser, REASONING_PARSERS, "reasoning_parser_plugin", VllmReasoning)

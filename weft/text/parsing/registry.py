"""`ParserRegistry`: the parsers that users choose by name: weft's formats, and those that plugins register.

`TOOL_PARSERS` and `REASONING_PARSERS` are the two registries of a process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from weft.errors import ConfigError, nearest
from weft.text.parsing.events import AnswerParser
from weft.text.parsing.kind import ParseRequest, ParserKind
from weft.text.reasoning.formats import FORMATS as REASONING_FORMATS
from weft.text.reasoning.reasoning_format import ReasoningFormat
from weft.text.tools.formats import FORMATS as TOOL_FORMATS
from weft.text.tools.tool_format import ToolFormat

Maker = Callable[[ParseRequest], AnswerParser]
M = TypeVar("M", bound=Maker)

NONE = "none"      # chosen by this name, no parser is used


class OwnKind:
    """A `ParserKind` of a function or class that a user registered."""

    def __init__(self, name: str, maker: Maker) -> None:
        self.name, self.make = name, maker
        self.is_whole, self.all_marks = False, None


class ParserRegistry:
    """Parsers by name. option: what chooses one, for messages."""

    def __init__(self, option: str, formats: Iterable[ToolFormat | ReasoningFormat]) -> None:
        self.option, self.formats = option, tuple(formats)
        self._kinds: dict[str, ParserKind] = {name: form for form in self.formats for name in form.names}

    def add(self, name: str, kind: ParserKind) -> None:
        """Let users choose `kind` by `name`. The last one that is added under a name counts."""
        self._kinds[name] = kind

    def register(self, name: str) -> Callable[[M], M]:
        """A decorator for a function, or a class, that takes a `ParseRequest` and gives an `AnswerParser`."""
        def decorate(maker: M) -> M:
            self.add(name, OwnKind(name, maker))
            return maker

        return decorate

    def names(self) -> list[str]:
        """All names, in order."""
        return sorted(self._kinds)

    def find(self, name: str) -> ParserKind | None:
        """The parser of this name; None for "none". ConfigError for an unknown name tells the nearest ones."""
        if name == NONE:
            return None
        if name not in self._kinds:
            near = nearest(name, self._kinds, count=3)
            raise ConfigError(self.option, name, expected=f"the name of a parser, or {NONE}", hint=(
                f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(self.names())}."))
        return self._kinds[name]

    def of_template(self, template: str) -> ToolFormat | ReasoningFormat | None:
        """weft's first format all of whose signs the chat template has."""
        return next((form for form in self.formats if form.is_of(template)), None)


TOOL_PARSERS = ParserRegistry("tool_call_parser", TOOL_FORMATS)
REASONING_PARSERS = ParserRegistry("reasoning_parser", REASONING_FORMATS)

"""The events that a parser finds in an answer's text, and `collect`, which joins them to a whole message.

A parser gets the text in pieces of any size. The same text gives the same events, however it was divided; only long
texts and arguments come in more pieces. So a whole answer is a stream of one piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text of the reasoning before the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool call begins. index: its number in the answer, from 0. id: its name in the conversation."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A further piece of the JSON text of call `index`'s arguments."""

    index: int
    text: str


Event = Content | Reasoning | CallStart | CallArguments


class AnswerParser(Protocol):
    """Finds the parts of one answer. An object parses one answer and is then used up."""

    def feed(self, text: str, token_ids: Sequence[int] = ()) -> list[Event]:
        """The events of a further piece of the text. token_ids: the piece's tokens, for parsers that look at them."""
        ...

    def finish(self) -> list[Event]:
        """The events of what was held back, because the text has ended."""
        ...


@dataclass(slots=True)
class ToolCall:
    """A whole tool call. arguments: JSON text, cut short or invalid where the model's was."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True, eq=False)
class ParsedAnswer:
    """A whole answer, of the events so far."""

    # Pieces of texts: joining them at each event would be quadratic.
    _content: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _calls: list[tuple[CallStart, list[str]]] = field(default_factory=list)

    @property
    def content(self) -> str | None:
        """Text for the user; None where the answer has none."""
        return "".join(self._content) if self._content else None

    @property
    def reasoning(self) -> str | None:
        """Text of the reasoning; None where the answer has none."""
        return "".join(self._reasoning) if self._reasoning else None

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls, in order."""
        return [ToolCall(start.id, start.name, "".join(pieces)) for start, pieces in self._calls]

    @property
    def has_calls(self) -> bool:
        """True if the answer calls a tool."""
        return bool(self._calls)

    def __eq__(self, other: object) -> bool:
        """Equal parts, however they were divided."""
        return isinstance(other, ParsedAnswer) and (self.content, self.reasoning, self.tool_calls) == (
            other.content, other.reasoning, other.tool_calls)

    def add(self, events: Iterable[Event]) -> None:
        """Add further events."""
        for event in events:
            match event:
                case Content(text):
                    self._content.append(text)
                case Reasoning(text):
                    self._reasoning.append(text)
                case CallStart():
                    self._calls.append((event, []))
                case CallArguments(index, text):
                    self._calls[index][1].append(text)


def collect(events: Iterable[Event]) -> ParsedAnswer:
    """The whole answer that the events tell."""
    answer = ParsedAnswer()
    answer.add(events)
    return answer


def parse_whole(parser: AnswerParser, text: str, token_ids: Sequence[int] = ()) -> ParsedAnswer:
    """The parts of a whole text."""
    return collect([*parser.feed(text, token_ids), *parser.finish()])

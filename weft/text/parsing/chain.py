"""`Chain`: the parser of a whole answer: reasoning first, then tool calls in what is left."""

from __future__ import annotations

from collections.abc import Sequence

from weft.text.parsing.events import AnswerParser, Content, Event
from weft.text.parsing.machine import Machine


class Chain:
    """Gives the text to the parser of reasoning, and its content to the parser of tool calls. Either may be None."""

    def __init__(self, reasoning: AnswerParser | None, tools: AnswerParser | None) -> None:
        self._reasoning, self._tools = reasoning, tools

    def feed(self, text: str, token_ids: Sequence[int] = ()) -> list[Event]:
        """See `AnswerParser`."""
        if self._reasoning is None:
            return self._calls([Content(text)] if text else [], token_ids)
        return self._calls(self._reasoning.feed(text, token_ids), token_ids)

    def finish(self) -> list[Event]:
        """See `AnswerParser`."""
        events = [] if self._reasoning is None else self._calls(self._reasoning.finish(), ())
        return events if self._tools is None else [*events, *self._tools.finish()]

    @property
    def reasoning_spans(self) -> list[tuple[int, int]]:
        """Where the text's reasoning is, as far as it has ended; [] if its parser does not tell."""
        return self._reasoning.reasoning_spans if isinstance(self._reasoning, Machine) else []

    def _calls(self, events: list[Event], token_ids: Sequence[int]) -> list[Event]:
        if self._tools is None:
            return events
        found: list[Event] = []
        for event in events:
            found += self._tools.feed(event.text, token_ids) if isinstance(event, Content) else [event]
        return found

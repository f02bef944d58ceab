"""Parsers of answers whose form was forced, because the request demands calls: JSON alone, in no model's format."""

from __future__ import annotations

from collections.abc import Sequence

from weft.text.parsing.events import CallArguments, CallStart, Event
from weft.text.tools.calls import random_id
from weft.text.tools.json_body import JsonBody
from weft.text.tools.marked import MarkedFormat

# A list of calls, each {"name": …, "parameters": {…}}: what `tool_choice` "required" forces.
LIST_OF_CALLS = MarkedFormat(body=JsonBody(objects=False), bare=True)


class ArgumentsOf:
    """The parser of an answer that is the arguments of one call: what the `tool_choice` of a name forces."""

    def __init__(self, name: str) -> None:
        self._start: list[Event] = [CallStart(0, random_id(name, 0), name)]

    def feed(self, text: str, token_ids: Sequence[int] = ()) -> list[Event]:
        """See `AnswerParser`."""
        if not text:
            return []
        events, self._start = [*self._start, CallArguments(0, text)], []
        return events

    def finish(self) -> list[Event]:
        """See `AnswerParser`."""
        events, self._start = self._start, []
        return events

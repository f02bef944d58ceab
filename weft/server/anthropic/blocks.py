"""Content blocks of an answer: whole, or as the events of a stream in which one block follows the other.

An answer's parts come from its parser (`text/parsing/events.py`). This module knows no request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

from weft.text.parsing.events import CallArguments, CallStart, Content, Event, ParsedAnswer, Reasoning

# Clients send thinking back with its signature; weft has none to check and gives one that says so.
_SIGNATURE = "unsigned"


def whole_blocks(answer: ParsedAnswer) -> list[dict[str, Any]]:
    """The content of a message."""
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": _SIGNATURE})
    if answer.content:
        blocks.append({"type": "text", "text": answer.content})
    blocks += [{"type": "tool_use", "id": call.id, "name": call.name, "input": _arguments(call.arguments)}
               for call in answer.tool_calls]
    return blocks


def _arguments(text: str) -> dict[str, Any]:
    """The object of a call's arguments; of a text that was cut short, the part that is there."""
    try:
        value = from_json(text or "{}", allow_partial="trailing-strings")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class BlockStream:
    """Turns an answer's parts into a stream's events."""

    def __init__(self) -> None:
        self._index = -1
        self._open: str | None = None      # type of the block that is being written

    def add(self, parts: Iterable[Event]) -> list[dict[str, Any]]:
        """The events of further parts."""
        found: list[dict[str, Any]] = []
        for part in parts:
            match part:
                case Reasoning(text):
                    found += self._begin("thinking", {"thinking": "", "signature": ""})
                    found.append(self._delta({"type": "thinking_delta", "thinking": text}))
                case Content(text):
                    found += self._begin("text", {"text": ""})
                    found.append(self._delta({"type": "text_delta", "text": text}))
                case CallStart(_, call_id, name):
                    found += [*self.end(), *self._begin("tool_use", {"id": call_id, "name": name, "input": {}})]
                case CallArguments(_, text):
                    found.append(self._delta({"type": "input_json_delta", "partial_json": text}))
        return found

    def end(self) -> list[dict[str, Any]]:
        """The events that end the block that is open, if one is."""
        if self._open is None:
            return []
        is_thinking, self._open = self._open == "thinking", None
        signature = [self._delta({"type": "signature_delta", "signature": _SIGNATURE})] if is_thinking else []
        return [*signature, {"type": "content_block_stop", "index": self._index}]

    def _begin(self, kind: str, empty: dict[str, Any]) -> list[dict[str, Any]]:
        if self._open == kind:
            return []
        events = self.end()
        self._open, self._index = kind, self._index + 1
        return [*events, {"type": "content_block_start", "index": self._index, "content_block": {"type": kind} | empty}]

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

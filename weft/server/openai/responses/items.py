"""The output items of a response, and the events that tell a client how they grow.

A whole answer is one part: its items are those that the events of a stream end with. Knows no engine.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from weft.text.parsing.events import CallArguments, CallStart, Content, Event, Reasoning

_PREFIXES = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_"}
_TEXT_EVENTS = {"message": "response.output_text", "reasoning": "response.reasoning_text"}
_PART_KINDS = {"message": "output_text", "reasoning": "reasoning_text"}


class ItemStream:
    """Builds the items of one answer.

    items: the items so far; the last one is unfinished until `end`.
    """

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self._text: list[str] = []                      # of the open item
        self._logprobs: list[dict[str, Any]] = []
        self._is_open = False

    def add(self, parts: Iterable[Event], logprobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The events of further parts. logprobs: of the parts' tokens; they go to the first text among them."""
        found: list[dict[str, Any]] = []
        for part in parts:
            match part:
                case Reasoning(text):
                    found += [*self._begin("reasoning"), self._text_delta(text)]
                case Content(text):
                    found += [*self._begin("message"), self._text_delta(text, logprobs)]
                    logprobs = []
                case CallStart(_, call_id, name):
                    found += [*self.end("completed"), *self._begin("function_call", call_id=call_id, name=name)]
                case CallArguments(_, text):
                    self._text.append(text)
                    found.append(self._event("response.function_call_arguments.delta", delta=text))
        return found

    def end(self, status: str) -> list[dict[str, Any]]:
        """The events that end the open item, if there is one. status: "completed" or "incomplete"."""
        if not self._is_open:
            return []
        self._is_open = False
        item, text = self.items[-1], "".join(self._text)
        if item["type"] == "function_call":
            found = [self._event("response.function_call_arguments.done", arguments=text, name=item["name"])]
            item = {**item, "arguments": text, "status": status}
        else:
            part = _part(item["type"], text, self._logprobs)
            logprobs = {"logprobs": self._logprobs} if item["type"] == "message" else {}
            found = [self._event(_TEXT_EVENTS[item["type"]] + ".done", content_index=0, text=text, **logprobs),
                     self._event("response.content_part.done", content_index=0, part=part)]
            item = {**item, "content": [part], "status": status}
        self.items[-1], self._text, self._logprobs = item, [], []
        return [*found, {"type": "response.output_item.done", "output_index": len(self.items) - 1, "item": item}]

    def _begin(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """The events before an item's first text; none if the open item goes on."""
        if self._is_open and self.items[-1]["type"] == kind:
            return []
        found = self.end("completed")
        item = {"type": kind, "id": _PREFIXES[kind] + secrets.token_hex(16), "status": "in_progress",
                **_empty(kind), **fields}
        self.items.append(item)
        self._is_open = True
        found.append({"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": item})
        if kind != "function_call":
            found.append(self._event("response.content_part.added", content_index=0, part=_part(kind, "", [])))
        return found

    def _text_delta(self, text: str, logprobs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        self._text.append(text)
        self._logprobs += logprobs or []
        more = {} if logprobs is None else {"logprobs": logprobs}
        return self._event(_TEXT_EVENTS[self.items[-1]["type"]] + ".delta", content_index=0, delta=text, **more)

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "item_id": self.items[-1]["id"], "output_index": len(self.items) - 1, **fields}


def _empty(kind: str) -> dict[str, Any]:
    match kind:
        case "message":
            return {"role": "assistant", "content": []}
        case "reasoning":
            return {"summary": [], "content": []}
    return {"arguments": ""}


def _part(kind: str, text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    part: dict[str, Any] = {"type": _PART_KINDS[kind], "text": text}
    return part | {"annotations": [], "logprobs": logprobs} if kind == "message" else part

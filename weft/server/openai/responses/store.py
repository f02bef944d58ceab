"""`ResponseStore`: the responses that clients may read again or go on from, within a number of bytes.

The oldest responses are forgotten first. Only this process's memory holds them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import msgspec

from weft.server.errors import ApiError
from weft.server.openai.responses.event_log import EventLog


@dataclass(slots=True, eq=False)
class Stored:
    """One response. messages: the conversation with the answer, as messages of a chat. input: the items it was given.

    task: the work of a response that runs in the background. log: its events, if it is streamed.
    """

    response: dict[str, Any]
    messages: list[dict[str, Any]]
    input: list[dict[str, Any]]
    task: asyncio.Task[None] | None = field(default=None)
    log: EventLog | None = field(default=None)

    def size(self) -> int:
        """Bytes, as JSON."""
        own = len(msgspec.json.encode((self.response, self.messages, self.input)))
        return own + (0 if self.log is None else self.log.num_bytes)


class ResponseStore:
    """Holds responses by their ids. max_bytes: of all of them as JSON, with their events; 0: none is kept.

    A response that runs in the background counts as it grows, and may be forgotten too; its work goes on.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._stored: OrderedDict[str, tuple[Stored, int]] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()      # also of forgotten responses: a loop holds no tasks itself

    def put(self, stored: Stored) -> None:
        """Keep a response, or its newer state. Others are forgotten to make room; a too large one is not kept."""
        response_id = stored.response["id"]
        if stored.task is not None and not stored.task.done():
            self._running.add(stored.task)
            stored.task.add_done_callback(self._running.discard)
        self._drop(response_id)
        size = stored.size()
        if size > self.max_bytes:
            return
        self._stored[response_id] = (stored, size)
        self.num_bytes += size
        if stored.log is not None:
            stored.log.on_growth = lambda num_bytes: self._grow(response_id, num_bytes)
        self._make_room()

    def get(self, response_id: str, field: str = "response_id") -> Stored:
        """The response. ApiError 404 if it is not here (any more)."""
        found = self._stored.get(response_id)
        if found is None:
            raise ApiError(404, f"{field}: there is no response {response_id[:64]!r} here; it was not stored, or is "
                                "forgotten since.", field)
        return found[0]

    def delete(self, response_id: str) -> None:
        """Forget a response. ApiError 404 if it is not here; a running one is ended."""
        stored = self.get(response_id)
        if stored.task is not None:
            stored.task.cancel()
        self._drop(response_id)

    def _grow(self, response_id: str, num_bytes: int) -> None:
        stored, size = self._stored[response_id]
        self._stored[response_id] = (stored, size + num_bytes)
        self.num_bytes += num_bytes
        self._make_room()

    def _make_room(self) -> None:
        while self.num_bytes > self.max_bytes:
            self._drop(next(iter(self._stored)))

    def _drop(self, response_id: str) -> None:
        if response_id not in self._stored:
            return
        stored, size = self._stored.pop(response_id)
        self.num_bytes -= size
        if stored.log is not None:
            stored.log.on_growth = lambda num_bytes: None

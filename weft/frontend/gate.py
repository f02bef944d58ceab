"""`Gate`: the way of requests into the engine. While it is closed, requests that come are held.

It knows which requests are inside, so that a pause can wait until there are none. It knows no process and no text.
"""

from __future__ import annotations

import asyncio

from weft.engine.process.messages import EngineRequest
from weft.errors import NotBuiltError, RequestError


def check_mode(mode: str) -> None:
    """RequestError unless a pause knows what `mode` does with running requests."""
    if mode == "keep":
        raise NotBuiltError("mode", mode, expected="abort or wait", hint="weft does not freeze running requests yet.")
    if mode not in ("abort", "wait"):
        raise RequestError("mode", mode, expected="abort or wait")


class Gate:
    """Open at first. Used by one event loop at a time.

    Attributes:
        closed_by: the reasons for which it is closed; empty while it is open.
    """

    def __init__(self) -> None:
        self.closed_by: set[str] = set()
        self._inside: set[str] = set()
        self._held: dict[str, list[EngineRequest]] = {}
        self._waiters: list[asyncio.Event] = []

    @property
    def inside(self) -> list[str]:
        """The ids of unfinished requests that have passed."""
        return list(self._inside)

    def passes(self, request_id: str, children: list[EngineRequest]) -> bool:
        """True if the request's sequences may go to the engine now. Otherwise they are held until the gate opens."""
        if self.closed_by:
            self._held[request_id] = children
            return False
        self._inside.add(request_id)
        return True

    def open(self, *reasons: str) -> list[tuple[str, list[EngineRequest]]]:
        """Take back reasons. Returns the held requests, which pass now, if none is left."""
        self.closed_by -= set(reasons)
        if self.closed_by:
            return []
        held, self._held = list(self._held.items()), {}
        self._inside |= {request_id for request_id, _ in held}
        return held

    def ended(self, request_id: str) -> None:
        """A request has finished, wherever it was."""
        self._held.pop(request_id, None)
        self._inside.discard(request_id)
        if not self._inside:
            for waiter in self._waiters:
                waiter.set()

    async def until_empty(self) -> None:
        """Waits until no request is inside."""
        if not self._inside:
            return
        waiter = asyncio.Event()
        self._waiters.append(waiter)
        try:
            await waiter.wait()
        finally:
            self._waiters.remove(waiter)

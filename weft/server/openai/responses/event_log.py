"""`EventLog`: the events of a response made in the background, for clients that read them as they come or later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable


class EventLog:
    """Events in their order; the number of an event is its place. Used by one event loop.

    on_growth: called with the bytes of each further event.
    """

    def __init__(self) -> None:
        self.num_bytes = 0
        self.on_growth: Callable[[int], None] = lambda num_bytes: None
        self._events: list[bytes] = []
        self._is_closed = False
        self._news = asyncio.Event()

    def add(self, event: bytes) -> None:
        """The next event."""
        self._events.append(event)
        self.num_bytes += len(event)
        self._wake()
        self.on_growth(len(event))

    def close(self) -> None:
        """There are no further events."""
        self._is_closed = True
        self._wake()

    async def read(self, start: int) -> AsyncGenerator[bytes, None]:
        """The events from number `start` on, and those to come."""
        while True:
            news = self._news
            while start < len(self._events):
                yield self._events[start]
                start += 1
            if self._is_closed:
                return
            await news.wait()

    def _wake(self) -> None:
        """Wakes all readers. Each waits for the event that was current before it looked, so none misses one."""
        self._news.set()
        self._news = asyncio.Event()

"""`Lanes`: the threads that turn prompts into token ids, so that a long text does not hold up the short ones.

There is a lane for short texts, one for long texts and one for media, each a thread and a queue. Encoding with a
loaded tokenizer changes nothing in it, and most of it runs without the interpreter's lock, so two threads may use one
tokenizer.
This module knows no tokenizer and no engine.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from weft.errors import QueueFullError

T = TypeVar("T")

LONG_CHARS = 64 * 2**10             # a text of more characters is long
MAX_QUEUED_CHARS = 64 * 2**20       # characters of all texts that may wait in a lane


def num_chars(value: Any) -> int:
    """Characters of all texts in a prompt or in messages. Token ids count for nothing: they are read already."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(num_chars, value.values()))
    if isinstance(value, list | tuple) and value and not isinstance(value[0], int):
        return sum(map(num_chars, value))
    return 0


class Lanes:
    """Runs work on texts, in the order of its arrival among texts of its kind."""

    def __init__(self) -> None:
        self._short, self._long = _Lane("weft-short-texts"), _Lane("weft-long-texts")
        self._media = _Lane("weft-media")

    async def run(self, func: Callable[[], T], num_chars: int) -> T:
        """The result of `func`, run in the lane for a text of `num_chars` characters. QueueFullError if too much waits.
        """
        return await self._lane(num_chars).run(func, num_chars)

    async def run_media(self, func: Callable[[], T], num_chars: int) -> T:
        """The result of `func`, which decodes media that came as `num_chars` characters of base64. QueueFullError as of
        `run`. One prompt's media are decoded at a time, which bounds the memory for pixels."""
        return await self._media.run(func, num_chars)

    def submit(self, func: Callable[[], T]) -> Future[T]:
        """Runs `func` in the lane for long texts, without a limit; for use outside an event loop."""
        return self._long.pool.submit(func)

    def complaint(self, limit_s: float) -> str | None:
        """What has lasted longer than `limit_s` seconds; None if nothing has."""
        for kind, lane in (("short", self._short), ("long", self._long), ("media", self._media)):
            waited = time.monotonic() - lane.moved
            if lane.num_open and waited > limit_s:
                return f"{lane.num_open} {kind} prompts are to be read, and none was for {waited:.0f} s."
        return None

    def close(self) -> None:
        """Drop what waits. Work that runs goes on to its end, unobserved."""
        for lane in (self._short, self._long, self._media):
            lane.pool.shutdown(wait=False, cancel_futures=True)

    def _lane(self, num_chars: int) -> _Lane:
        return self._long if num_chars > LONG_CHARS else self._short


class _Lane:
    """One thread and what waits for it. moved: when work last ended, or came to an empty lane."""

    def __init__(self, name: str) -> None:
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self.num_open = self._num_chars = 0
        self.moved = time.monotonic()
        self._lock = threading.Lock()      # work ends in the pool's thread

    async def run(self, func: Callable[[], T], num_chars: int) -> T:
        with self._lock:
            if self.num_open and self._num_chars + num_chars > MAX_QUEUED_CHARS:
                raise QueueFullError(f"Prompts with {self._num_chars} characters wait to be read, and "
                                     f"{MAX_QUEUED_CHARS} may: try again later.", "max_queued_chars")
            if not self.num_open:
                self.moved = time.monotonic()
            self.num_open += 1
            self._num_chars += num_chars
        future = self.pool.submit(func)
        future.add_done_callback(lambda _: self._end(num_chars))      # also of work whose client left meanwhile
        return await asyncio.wrap_future(future)

    def _end(self, num_chars: int) -> None:
        with self._lock:
            self.num_open -= 1
            self._num_chars -= num_chars
            self.moved = time.monotonic()

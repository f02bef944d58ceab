"""`Deadline`: ends a request's work in the engine when the seconds that the client gave it are over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from weft.async_llm import AsyncLLM
from weft.server.errors import ApiError


class Deadline:
    """Aborts the engine's requests `engine_ids` after `seconds`, unless the `with` block ends before; None: never."""

    def __init__(self, engine: AsyncLLM, engine_ids: Sequence[str], seconds: float | None) -> None:
        self._engine, self._engine_ids, self._seconds = engine, engine_ids, seconds
        self._timer: asyncio.TimerHandle | None = None
        self._aborting: asyncio.Future[list[None]] | None = None

    def check(self) -> None:
        """ApiError 408 once the time is over."""
        if self._aborting is not None:
            raise ApiError(408, f"The request did not end within its timeout of {self._seconds:g} s.", "timeout")

    def __enter__(self) -> Deadline:
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self._aborting = asyncio.gather(*map(self._engine.abort, self._engine_ids))

"""Cancels a request's work when its client disconnects, for streamed and whole responses.

Cancelling the work closes the engine's iterators in it, which aborts the requests. This module knows no engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from weft.server.errors import ClientGone

T = TypeVar("T")


async def until_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` and returns its result. If the client closes the connection, cancels `work` and raises ClientGone.

    Call it only after the request's body has been read.
    """
    return await _first(asyncio.ensure_future(work), request.receive)


class PieceStream(Response):
    """A response in pieces: `first`, then `pieces`. Closes `pieces` at the end and if the client leaves."""

    def __init__(self, first: bytes, pieces: AsyncGenerator[bytes, None], headers: Mapping[str, str],
                 media_type: str) -> None:
        self._first, self._pieces = first, pieces
        self.status_code, self.background, self.media_type = 200, None, media_type
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await _first(asyncio.ensure_future(self._send_all(send)), receive)
        except ClientGone:
            return

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._pieces) as pieces:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class EventStream(PieceStream):
    """A response of server-sent events."""

    def __init__(self, first: bytes, events: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> None:
        super().__init__(first, events, {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers},
                         "text/event-stream")


async def started_stream(request: Request, events: AsyncGenerator[bytes, None],
                         headers: Mapping[str, str]) -> EventStream:
    """A response that streams `events`. Waits for the first event: a failure before it becomes an HTTP error response.
    """

    async def first_event() -> bytes:
        return await anext(events)

    return EventStream(await until_disconnect(request, first_event()), events, headers)


async def _first(work: asyncio.Future[T], receive: Receive) -> T:
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise ClientGone
    finally:
        await _cancelled(work, gone)


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancels the tasks and waits until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

"""Sends answers of many numbers: written in a thread, a piece at a time, so that other requests are served meanwhile.

Neither the event loop nor the memory ever has a whole answer of megabytes as text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from fastapi import Response

from weft.server.disconnect import PieceStream
from weft.server.work import Threads

PIECE_BYTES = 2**18
JSON = "application/json"


def json_pieces(head: Mapping[str, Any], name: str, items: Iterable[Any], tail: Mapping[str, Any]) -> Iterator[bytes]:
    """A JSON object: the fields of `head`, then `name` with the list of `items`, then those of `tail`.

    An item that is an iterator has the pieces of its JSON.
    """
    yield msgspec.json.encode({**head, name: []})[:-2]
    for i, item in enumerate(items):
        yield b"," * (i > 0)
        yield from item if isinstance(item, Iterator) else (msgspec.json.encode(item),)
    yield b"]" + b"," * bool(tail) + msgspec.json.encode(tail)[1:]


async def answer_of(threads: Threads, pieces: Iterator[bytes], headers: Mapping[str, str],
                    media_type: str = JSON) -> Response:
    """The response, written in `threads`. It is sent whole if it is one piece of `PIECE_BYTES`."""
    first = await threads.run(_piece, pieces)
    if len(first) < PIECE_BYTES:
        return Response(first, headers=dict(headers), media_type=media_type)
    return PieceStream(first, _rest(threads, pieces), headers, media_type)


async def _rest(threads: Threads, pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    while piece := await threads.run(_piece, pieces):
        yield piece


def _piece(pieces: Iterator[bytes]) -> bytes:
    """The next pieces together: at least PIECE_BYTES bytes, or what is left."""
    found, size = [], 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            break
    return b"".join(found)

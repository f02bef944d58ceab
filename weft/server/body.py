"""Reads a request's body as a JSON object, with limits on size and depth and an error that names the fault.

Large bodies are decoded in a thread, so that streams go on. This module knows no schema. NaN and Infinity
are not JSON and are refused.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from weft.server.errors import ApiError, ClientGone
from weft.server.json_pieces import TooManyLevelsError, decode_in_pieces
from weft.server.work import Threads

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"     # JSON readers may ignore it (RFC 8259 section 8.1)
_THREAD_BYTES = 1 << 16      # larger bodies are decoded in a thread
_WHOLE_BYTES = 1 << 20       # larger ones in pieces, too: one call would hold the event loop up for 10 ms and more


async def read_object(request: Request, max_bytes: int, threads: Threads) -> dict[str, Any]:
    """The JSON object in `request`'s body. ApiError 400 or 413 for a bad body; ClientGone if the client has left.

    max_bytes: the largest allowed body. threads: where large bodies are decoded.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise ApiError(400, f"Content-Type = {content_type!r}: expected application/json.", "Content-Type")
    body = await read_body(request, max_bytes)
    if len(body) <= _THREAD_BYTES:
        return decode_object(body)
    return await threads.run(decode_object, body)


async def read_body(request: Request, max_bytes: int) -> bytearray:
    """The bytes of `request`'s body. ApiError 413 if they are too many; ClientGone if the client has left."""
    too_large = ApiError(413, f"The request's body is larger than {max_bytes} bytes, which is this server's limit.")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 18 or int(length) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise too_large
    except ClientDisconnect as error:
        raise ClientGone from error
    return body


def decode_object(body: bytes | bytearray) -> dict[str, Any]:
    """`body` as a JSON object. ApiError 400 with the reason."""
    try:
        value = _decoded(body.removeprefix(_BYTE_ORDER_MARK))
    except (RecursionError, TooManyLevelsError) as error:
        raise ApiError(400, "The request's body is nested too deeply.") from error
    except UnicodeDecodeError as error:
        raise ApiError(400, f"The request's body is not UTF-8: {error.reason} at byte {error.start}.") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise ApiError(400, f"The request's body is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ApiError(400, f"The request's body is {_json_type(value)}: expected an object.")
    return value


def _decoded(text: bytes | bytearray) -> Any:
    return msgspec.json.decode(text) if len(text) <= _WHOLE_BYTES else decode_in_pieces(text)


def _json_type(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")

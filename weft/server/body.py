"""Reads a request's body as a JSON object, with limits on size and depth and an error that names the fault.

This module knows no schema. NaN and Infinity are not JSON and are refused.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from weft.server.errors import ApiError, ClientGone

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"     # JSON readers may ignore it (RFC 8259 section 8.1)
_THREAD_BYTES = 256 * 1024      # bodies of this size or larger are decoded in a thread, so that streams go on


async def read_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """The JSON object in `request`'s body. ApiError 400 or 413 for a bad body; ClientGone if the client has left.

    max_bytes: the largest allowed body.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise ApiError(400, f"Content-Type = {content_type!r}: expected application/json.", "Content-Type")
    body = await _read(request, max_bytes)
    if len(body) < _THREAD_BYTES:
        return decode_object(body)
    return await asyncio.to_thread(decode_object, body)


async def _read(request: Request, max_bytes: int) -> bytearray:
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
        value = msgspec.json.decode(body.removeprefix(_BYTE_ORDER_MARK))
    except RecursionError as error:
        raise ApiError(400, "The request's body is nested too deeply.") from error
    except UnicodeDecodeError as error:
        raise ApiError(400, f"The request's body is not UTF-8: {error.reason} at byte {error.start}.") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise ApiError(400, f"The request's body is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ApiError(400, f"The request's body is {_json_type(value)}: expected an object.")
    return value


def _json_type(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")

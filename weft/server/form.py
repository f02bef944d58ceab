"""Reads a request's body as a form with a file (multipart/form-data), in memory and within the limit of bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from weft.server.body import read_body
from weft.server.errors import ApiError

_KIND = "multipart/form-data"
_CHUNK = 1 << 18                     # bytes that are parsed before others have the event loop
_MAX_FIELDS = 100


async def read_form(request: Request, max_bytes: int) -> dict[str, Any]:
    """{name: text, or bytes of the file}; a name that ends with [] has a list of texts, and loses that end.

    ApiError 400 or 413 for a bad body; ClientGone if the client has left. max_bytes: the largest allowed body.
    """
    body = await read_body(request, max_bytes)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != _KIND:
        raise ApiError(400, f"Content-Type = {content_type!r}: expected {_KIND}.", "Content-Type")
    parser = MultiPartParser(request.headers, _chunks(body), max_files=1, max_fields=_MAX_FIELDS)
    parser.spool_max_size = len(body) + 1      # no file is written: the body is in memory anyway
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError) as error:
        raise ApiError(400, "The request's body is no form with at most one file and "
                       f"{_MAX_FIELDS} fields: {getattr(error, 'message', 'it is malformed')}") from error
    found: dict[str, Any] = {}
    for name, value in form.multi_items():
        item = value if isinstance(value, str) else await value.read()
        if name.endswith("[]"):
            found.setdefault(name.removesuffix("[]"), []).append(item)
        else:
            found[name] = item
    return found


async def _chunks(body: bytearray) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _CHUNK):
        yield bytes(body[start : start + _CHUNK])
        await asyncio.sleep(0)

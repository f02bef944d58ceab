"""Reads a request's body as a form with a file (multipart/form-data), in memory and within the limit of bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from python_multipart.multipart import parse_options_header
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
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    if content_type.decode("latin-1").lower() != _KIND:
        raise ApiError(400, f"Content-Type = {content_type.decode('latin-1')!r}: expected {_KIND}.", "Content-Type")
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):      # others may take minutes to decode
        raise ApiError(400, "Content-Type: expected a form in UTF-8.", "Content-Type")
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
        key, is_list = name.removesuffix("[]"), name.endswith("[]")
        if key in found and not (is_list and isinstance(found[key], list)):
            raise ApiError(400, f"The form has {key} more than once.", key)
        if is_list:
            found.setdefault(key, []).append(item)
        else:
            found[key] = item
    return found


async def _chunks(body: bytearray) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _CHUNK):
        yield bytes(body[start : start + _CHUNK])
        await asyncio.sleep(0)

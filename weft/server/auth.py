"""API keys: which paths need none, and the comparison of keys.

The check is an ASGI layer (middleware) around the whole app, so it covers every route: a path that is not on the public
list needs a key. Clients of OpenAI's API send `Authorization: Bearer KEY`, those of Anthropic's `X-API-Key: KEY`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from weft.errors import ConfigError
from weft.server.errors import ApiError, error_response
from weft.server.options import ServerOptions

PUBLIC = frozenset({"/", "/health", "/ping", "/version", "/load", "/metrics", "/docs", "/openapi.json"})
PUBLIC_FOLDERS = ("/playground/", "/docs/")


def with_all_keys(options: ServerOptions) -> ServerOptions:
    """The options with the keys of `api_key_file` among theirs, and no file. ConfigError for a file that cannot be read
    or has no key.
    """
    if options.api_key_file is None:
        return options
    try:
        lines = Path(options.api_key_file).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("api_key_file", options.api_key_file, expected="a readable file of ASCII characters",
                          hint=f"{getattr(error, 'strerror', None) or 'It has others.'}") from error
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise ConfigError("api_key_file", options.api_key_file, expected="a file with one key a line",
                          hint="An empty one would leave the server open.")
    return replace(options, api_key=options.api_key + keys, api_key_file=None)


class ApiKeys:
    """Passes a request for a path that is not public on only if it has a key; otherwise answers 401."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app, self._digests = app, [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] != "http" or scope["method"] == "OPTIONS" or _is_public(scope)
        if is_open or self._knows(_key_of(Headers(scope=scope))):
            await self._app(scope, receive, send)
            return
        await _refusal(scope["path"])(scope, receive, send)

    def _knows(self, key: str) -> bool:
        digest = _digest(key)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]   # all, so that the time is constant
        return any(matches)


def _is_public(scope: Scope) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", ""))      # routes match with and without the prefix
    return path in PUBLIC or path.startswith(PUBLIC_FOLDERS)


def _key_of(headers: Headers) -> str:
    """The key that a client sent; "" for none, which no server has."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _refusal(path: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"}
    if "/v1/messages" in path:
        return error_response(ApiError(401, "This server asks for an API key: send it as X-API-Key."), path, headers)
    return Response(b'{"error":"Unauthorized"}', 401, headers, "application/json")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

"""API keys: which paths need none, their names, and the comparison of keys.

The check is an ASGI layer (middleware) around the whole app, so it covers every route: a path that is not on the public
list needs a key. Clients of OpenAI's API send `Authorization: Bearer KEY`, those of Anthropic's `X-API-Key: KEY`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from weft.errors import ConfigError
from weft.server.audit import Audit
from weft.server.errors import ApiError, error_response
from weft.server.options import ServerOptions
from weft.server.origin import origin_of

PUBLIC = frozenset({"/", "/health", "/ping", "/version", "/load", "/metrics", "/docs", "/openapi.json"})
PUBLIC_FOLDERS = ("/playground/", "/docs/")
MAX_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that opens the routes, and its name in logs, which tells nothing of it."""

    key: str = field(repr=False)
    name: str


def read_keys(options: ServerOptions) -> tuple[ApiKey, ...]:
    """The keys of the options: those of `api_key`, then those of `api_key_file`, which has lines `KEY` or `KEY NAME`.

    A key without a name is called by its number, `key1`. ConfigError for a file that cannot be read or has no key.
    """
    found = [(key, "") for key in options.api_key]
    if options.api_key_file is not None:
        found += _in_file(options.api_key_file)
    return tuple(ApiKey(key, name or f"key{number}") for number, (key, name) in enumerate(found, start=1))


def _in_file(path: str) -> list[tuple[str, str]]:
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("api_key_file", path, expected="a readable file of ASCII characters",
                          hint=f"{getattr(error, 'strerror', None) or 'It has others.'}") from error
    pairs = [(*line.split(maxsplit=1), "")[:2] for line in lines if line.strip() and not line.startswith("#")]
    if not pairs:
        raise ConfigError("api_key_file", path, expected="a file with one key a line",
                          hint="An empty one would leave the server open.")
    return [(key, name.strip()[:MAX_NAME_CHARS]) for key, name in pairs]


class ApiKeys:
    """Passes a request for a path that is not public on only if it has a key; otherwise answers 401.

    The origin of a request with a key gets the key's name, on public paths too.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[ApiKey], audit: Audit) -> None:
        self._app, self._audit = app, audit
        self._digests = [(_digest(key.key), key.name) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        key, origin = _key_of(Headers(scope=scope)), origin_of(scope)
        origin.key_name, origin.key_digest = self._name(key), _digest(key)
        if origin.key_name is not None or scope["method"] == "OPTIONS" or _is_public(scope):
            await self._app(scope, receive, send)
            return
        self._audit.refused(origin, ApiError(401, "unknown API key" if key else "no API key"))
        await _refusal(scope["path"])(scope, receive, send)

    def _name(self, key: str) -> str | None:
        """The name of a valid key."""
        digest = _digest(key)
        names = [name for known, name in self._digests if hmac.compare_digest(digest, known)]   # all, for constant time
        return names[0] if names else None


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

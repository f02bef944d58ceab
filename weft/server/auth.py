"""API keys: which paths need a key, and the comparison of keys.

The check is an ASGI layer (middleware) around the whole app, so it covers every route.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

GUARDED = ("/v1", "/v2", "/inference", "/tokenize", "/detokenize", "/reset_prefix_cache")


class ApiKeys:
    """Passes a request for a guarded path on only if it has `Authorization: Bearer KEY`; otherwise answers 401."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app, self._digests = app, [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] != "http" or scope["method"] == "OPTIONS" or not self._is_guarded(scope)
        if is_open or self._knows(Headers(scope=scope).get("authorization", "")):
            await self._app(scope, receive, send)
            return
        refusal = Response(b'{"error":"Unauthorized"}', 401, {"WWW-Authenticate": "Bearer"}, "application/json")
        await refusal(scope, receive, send)

    def _is_guarded(self, scope: Scope) -> bool:
        path = scope["path"]
        inner = path.removeprefix(scope.get("root_path", ""))      # routes match with and without the prefix
        return any(f"{found}/".startswith(f"{guarded}/") for found in (path, inner) for guarded in GUARDED)

    def _knows(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        digest = _digest(key.strip())
        matches = [hmac.compare_digest(digest, known) for known in self._digests]   # all, so that the time is constant
        return scheme.lower() == "bearer" and any(matches)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

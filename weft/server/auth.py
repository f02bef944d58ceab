"""API keys: which paths ask for one, and the comparison.

An ASGI layer around the whole app, so that no route can forget it.
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
    """Lets a request for a guarded path through when it carries `Authorization: Bearer KEY`, else answers 401."""

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
        inner = path.removeprefix(scope.get("root_path", ""))      # routes are looked up with and without the prefix
        return any(f"{found}/".startswith(f"{guarded}/") for found in (path, inner) for guarded in GUARDED)

    def _knows(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        digest = _digest(key.strip())
        matches = [hmac.compare_digest(digest, known) for known in self._digests]   # all of them: same time always
        return scheme.lower() == "bearer" and any(matches)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

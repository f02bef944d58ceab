"""`Origin`: who sent an HTTP request, when, and its id. `Origins`, an ASGI layer (middleware), makes them.

Logs, traces and answers name a request by this id. The engine's own ids are longer, so that no client can choose one.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weft.server.headers import header_value
from weft.server.openai.schemas import MAX_ID_CHARS

_MAX_PATH_CHARS = 100      # of a path without a route, in a log line


@dataclass(slots=True, eq=False)
class Origin:
    """Where a request comes from.

    request_id: the client's X-Request-Id, or a new id if it sent none that a header may hold.
    client: the client's address; "unix" behind a Unix socket. key_name: the name of its API key; None: it gave no valid
    one. key_digest: a hash of the key that it gave. arrived: seconds of time.monotonic. is_refused: a refusal of the
    request has been noted (`audit.py`).
    response_headers: for every response to the request.
    """

    scope: Scope = field(repr=False)
    request_id: str
    client: str
    response_headers: dict[str, str] = field(default_factory=dict)
    arrived: float = field(default_factory=time.monotonic)
    key_name: str | None = None
    key_digest: bytes = b""
    is_refused: bool = False

    @property
    def route(self) -> str:
        """Method and path: the route's, or, before a route is found, the first characters of the client's."""
        found = self.scope.get("route")
        path = self.scope["path"][:_MAX_PATH_CHARS] if found is None else found.path
        return f"{self.scope['method']} {path}"

    @property
    def share_key(self) -> str:
        """Whose requests share a place in the engine's queue: those of one valid API key, else of one address."""
        return self.client if self.key_name is None else f"key {self.key_digest.hex()}"

    @property
    def headers(self) -> Headers:
        """The request's headers."""
        return Headers(scope=self.scope)


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A running request of the engine: the id of the response that it is for, and who asked."""

    response_id: str
    origin: Origin


def origin_of(scope: Scope) -> Origin:
    """The origin of the request with this ASGI scope."""
    return scope["state"]["origin"]


class Origins:
    """Gives each request of `app` its origin. echoes_ids: each response has the header X-Request-Id."""

    def __init__(self, app: ASGIApp, *, echoes_ids: bool) -> None:
        self._app, self._echoes_ids = app, echoes_ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = header_value(Headers(scope=scope).get("x-request-id", ""), MAX_ID_CHARS) or secrets.token_hex(16)
        address, headers = scope.get("client"), {"X-Request-Id": request_id} if self._echoes_ids else {}
        scope.setdefault("state", {})["origin"] = Origin(scope, request_id, address[0] if address else "unix", headers)
        await self._app(scope, receive, _with_headers(send, headers) if headers else send)


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers

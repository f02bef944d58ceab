"""An optional ASGI layer (middleware): adds `X-Request-Id` to every response, with the client's id or a new one."""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weft.server.headers import header_value
from weft.server.openai.schemas import MAX_ID_CHARS


class RequestIds:
    """Adds `X-Request-Id` to the responses of `app`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = header_value(Headers(scope=scope).get("x-request-id", ""), MAX_ID_CHARS) or secrets.token_hex(16)

        async def add_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        await self._app(scope, receive, add_header)

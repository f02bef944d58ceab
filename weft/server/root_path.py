"""The path under which a proxy shows the server: requests may come with it or without it. An ASGI layer."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Tells `app` its `root_path`; routes are looked up in what follows it."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._root_path = app, "/" + root_path.strip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "root_path": self._root_path} if scope["type"] == "http" else scope, receive, send)

"""An ASGI layer (middleware) for the path prefix of a reverse proxy. Requests may come with the prefix or without."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Sets `root_path` in the ASGI scope of `app`. Routes match the part of the path after it."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._root_path = app, "/" + root_path.strip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "root_path": self._root_path} if scope["type"] == "http" else scope, receive, send)

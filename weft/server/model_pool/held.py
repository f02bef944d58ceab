"""`HeldModels`: a model that a request uses stays loaded until the request's response has been sent.

The class is an ASGI layer (middleware): a response may be a stream, which goes on after its route has returned.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from weft.server.model_pool.entry import ModelEntry
from weft.server.model_pool.pool import ModelPool

_KEY = "weft.held"


class HeldModels:
    """Releases what `hold_for` held when the request is over."""

    def __init__(self, app: ASGIApp, models: ModelPool) -> None:
        self._app, self._models = app, models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = scope[_KEY] = []
        try:
            await self._app(scope, receive, send)
        finally:
            for entry in held:
                self._models.release(entry)


def hold_for(scope: Scope, models: ModelPool, entry: ModelEntry) -> None:
    """Holds the model of `entry` for the request of `scope`."""
    models.hold(entry)
    scope[_KEY].append(entry)


def held_for(scope: Scope) -> list[ModelEntry]:
    """The models that the request of `scope` uses."""
    return scope[_KEY]

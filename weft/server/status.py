"""The routes GET /health, /ping, /version, /load and /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from weft.server.context import ServerContext
from weft.server.errors import ApiError
from weft.version import __version__


def status_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    async def health() -> Response:
        context.models.drop_dead()
        for served in context.models.loaded:
            await served.engine.check_health()
            reason = served.engine.stalled(context.options.stall_timeout)
            if reason is not None:
                raise ApiError(503, reason if len(context.models.entries) == 1 else f"{served.names[0]}: {reason}")
        return Response(status_code=200)

    router.add_api_route("/health", health, methods=["GET", "HEAD"])
    router.add_api_route("/ping", health, methods=["GET", "POST"])

    @router.get("/version")
    async def version() -> dict[str, str]:
        return {"version": __version__}

    @router.get("/load")
    async def load() -> dict[str, int]:
        return {"server_load": context.load}

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(context.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router

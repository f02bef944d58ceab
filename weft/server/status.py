"""The routes GET /health, /ping, /version, /load and /metrics; in development mode also POST /reset_prefix_cache."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from weft.server.context import ServerContext
from weft.version import __version__


def status_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    async def health() -> Response:
        await context.engine.check_health()
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

    if context.options.dev_mode:
        @router.post("/reset_prefix_cache")
        async def reset_prefix_cache() -> dict[str, Any]:
            return {"success": await context.engine.reset_prefix_cache()}

    return router

"""Routes that an option of the server would add: without the option they answer 404 and name it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

from weft.server.errors import ApiError, error_response
from weft.server.options import ServerOptions
from weft.server.routes import ROUTES, RouteDoc


def off_router(options: ServerOptions) -> APIRouter:
    """The routes of the table that `options` leave out."""
    router = APIRouter()
    for route in ROUTES:
        if not route.is_served(options):
            router.add_api_route(route.path, _refusal(route), methods=[route.method], include_in_schema=False)
    return router


def _refusal(route: RouteDoc) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        path = request.url.path
        return error_response(ApiError(404, f"{path} is served only with {route.option}."), path)

    return refuse

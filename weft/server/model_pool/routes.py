"""POST /models/load and /models/unload, as llama.cpp's router has them: a model into memory, and out of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from weft.server.context import ServerContext
from weft.server.errors import ApiError
from weft.server.model_pool.entry import ModelEntry
from weft.server.openai.schemas import Body, Int


class LoadBody(Body):
    """POST /models/load: keep_alive is how long the model stays without requests from now on."""

    model: str | None = None
    keep_alive: float | Int | str | None = None


class UnloadBody(Body):
    """POST /models/unload."""

    model: str | None = None


def pool_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    @router.post("/models/load")
    async def load(request: Request) -> dict[str, Any]:
        await context.model(request, (await context.read(request, LoadBody)).body)
        return {"success": True}

    @router.post("/models/unload")
    async def unload(request: Request) -> dict[str, Any]:
        entry = context.models.find((await context.read(request, UnloadBody)).body.model)
        if entry.spec.is_resident:
            raise ApiError(409, f"The model {entry.name!r} stays loaded: the server was started with it.", "model")
        if not await context.models.unload(entry):
            raise ApiError(409, f"The model {entry.name!r} {_why_it_stays(entry)}.", "model")
        return {"success": True}

    return router


def _why_it_stays(entry: ModelEntry) -> str:
    if entry.is_loading:
        return "is being loaded: unload it when it is"
    return f"is in use by {entry.num_users} requests" if entry.num_users else "is paused, or asleep: resume it first"

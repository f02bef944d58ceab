"""GET /v1/models and /v1/models/{id}: the one served model, under each of its names."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from weft.server.context import ServerContext


def models_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_card(context, name) for name in context.model_names]}

    @router.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        context.check_model(name)
        return _card(context, name)

    return router


def _card(context: ServerContext, name: str) -> dict[str, Any]:
    permission = {"id": f"modelperm-{name}", "object": "model_permission", "created": context.created,
                  "allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True,
                  "allow_search_indices": False, "allow_view": True, "allow_fine_tuning": False, "organization": "*",
                  "group": None, "is_blocking": False}
    return {"id": name, "object": "model", "created": context.created, "owned_by": "weft",
            "root": context.engine.config.model.name, "parent": None,
            "max_model_len": context.engine.info.max_model_len, "permission": [permission]}

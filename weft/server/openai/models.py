"""GET /v1/models and /v1/models/{id}: the one served model, under each of its names, with facts about it in `meta`.

Clients that send Anthropic's version header get Anthropic's shape.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from weft.server.context import ServerContext
from weft.server.model_facts import model_facts


def models_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    @router.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        names = context.served.names
        if _is_anthropic(request):
            return {"data": [_info(context, name) for name in names], "has_more": False, "first_id": names[0],
                    "last_id": names[-1]}
        return {"object": "list", "data": [_card(context, name) for name in names]}

    @router.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> dict[str, Any]:
        context.named(name)
        return _info(context, name) if _is_anthropic(request) else _card(context, name)

    return router


def _is_anthropic(request: Request) -> bool:
    return "anthropic-version" in request.headers


def _info(context: ServerContext, name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name,
            "created_at": datetime.fromtimestamp(context.created, UTC).isoformat(),
            "max_input_tokens": context.served.engine.info.max_model_len}


def _card(context: ServerContext, name: str) -> dict[str, Any]:
    permission = {"id": f"modelperm-{name}", "object": "model_permission", "created": context.created,
                  "allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True,
                  "allow_search_indices": False, "allow_view": True, "allow_fine_tuning": False, "organization": "*",
                  "group": None, "is_blocking": False}
    return {"id": name, "object": "model", "created": context.created, "owned_by": "weft",
            "root": context.served.engine.config.model.name, "parent": None,
            "max_model_len": context.served.engine.info.max_model_len, "permission": [permission],
            "meta": model_facts(context.served)}

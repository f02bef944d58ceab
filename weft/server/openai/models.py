"""GET /v1/models and /v1/models/{id}: the models, each under each of its names, with facts about loaded ones in `meta`.

Clients that send Anthropic's version header get Anthropic's shape.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from weft.resolve.files import EMBEDDED_NAME
from weft.server.context import ServerContext
from weft.server.model_facts import model_facts
from weft.server.model_pool.entry import ModelEntry


def models_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    @router.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        names = context.models.names
        found = [_shown(request, context, name) for name in names]
        if _is_anthropic(request):
            return {"data": found, "has_more": False, "first_id": names[0], "last_id": names[-1]}
        return {"object": "list", "data": found}

    @router.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> dict[str, Any]:
        return _shown(request, context, name)

    return router


def _is_anthropic(request: Request) -> bool:
    return "anthropic-version" in request.headers


def _shown(request: Request, context: ServerContext, name: str) -> dict[str, Any]:
    entry = context.models.find(name)
    return (_info if _is_anthropic(request) else _card)(context, entry, name)


def _info(context: ServerContext, entry: ModelEntry, name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name,
            "created_at": datetime.fromtimestamp(context.created, UTC).isoformat(),
            "max_input_tokens": entry.max_model_len}


def _card(context: ServerContext, entry: ModelEntry, name: str) -> dict[str, Any]:
    """max_model_len is null before the model was loaded for the first time. status: as llama.cpp's router tells it."""
    permission = {"id": f"modelperm-{name}", "object": "model_permission", "created": context.created,
                  "allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True,
                  "allow_search_indices": False, "allow_view": True, "allow_fine_tuning": False, "organization": "*",
                  "group": None, "is_blocking": False}
    failed = {"failed": True} if entry.failure is not None else {}
    return {"id": name, "object": "model", "created": context.created, "owned_by": "weft",
            "root": entry.spec.args.model or EMBEDDED_NAME, "parent": None, "max_model_len": entry.max_model_len,
            "status": {"value": entry.state, **failed}, "permission": [permission],
            "meta": None if entry.served is None else model_facts(entry.served)}

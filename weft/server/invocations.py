"""POST /invocations, as SageMaker calls a model: the body's fields and the model's tasks say which route answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.types import Message

from weft.server.context import ServerContext
from weft.server.errors import ApiError

# A field that only bodies of this route have -> the route. The first one that is there counts.
SHAPES = {"messages": "/v1/chat/completions", "prompt": "/v1/completions", "prompt_embeds": "/v1/completions",
          "input": "/v1/responses"}
PAIRS = {"query": "/rerank", "queries": "/score", "data_1": "/score", "text_1": "/score"}
# Of models that pool, by the first task that the model has.
POOLING_SHAPES = {
    "embed": {"input": "/v1/embeddings", "messages": "/v1/embeddings", "texts": "/v2/embed", **PAIRS},
    "classify": {"input": "/classify", "messages": "/classify", **PAIRS},
    "token_classify": {"input": "/pooling", "messages": "/pooling"},
    "token_embed": {"input": "/pooling", "messages": "/pooling"},
}

Endpoint = Callable[[Request], Awaitable[Response]]


def invocations_router(context: ServerContext, endpoints: Mapping[str, Endpoint]) -> APIRouter:
    """The route. endpoints: what answers at the paths of `SHAPES`."""
    router = APIRouter()

    @router.post("/invocations")
    async def invocations(request: Request) -> Response:
        data = await context.read_any(request)
        name, timeout = data.get("model"), data.get("timeout")
        served = await context.model_named(request, name if isinstance(name, str) else None,
                                           timeout if isinstance(timeout, int | float) else None)
        tasks = served.engine.info.tasks
        shapes = next((shapes for task, shapes in POOLING_SHAPES.items() if task in tasks), SHAPES)
        path = next((path for field, path in shapes.items() if data.get(field) is not None), None)
        if path is None:
            raise ApiError(400, f"The body has none of the fields {', '.join(shapes)}, which say what is asked for.")
        return await endpoints[path](_again(request, path, data))

    return router


def _again(request: Request, path: str, data: dict[str, Any]) -> Request:
    """The request with its body unread, at another path."""
    body: list[Message] = [{"type": "http.request", "body": msgspec.json.encode(data), "more_body": False}]

    async def receive() -> Message:
        return body.pop() if body else await request.receive()

    return Request({**request.scope, "path": path}, receive)

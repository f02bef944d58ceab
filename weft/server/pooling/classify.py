"""POST /classify: the class of each text, with the probabilities of all classes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request, Response

from weft.server.context import ServerContext
from weft.server.disconnect import until_disconnect
from weft.server.pooling.answer import answer_of, json_pieces
from weft.server.pooling.job import Output, array_of, pooling_params, run_texts, usage_of
from weft.server.pooling.schemas import ClassifyBody, activation_of
from weft.server.request_fields import ignored_header
from weft.server.served import ServedModel


def classify_router(context: ServerContext) -> APIRouter:
    """The route, for the app of `context`."""
    router = APIRouter()

    @router.post("/classify")
    async def classify(request: Request) -> Response:
        parsed = await context.read(request, ClassifyBody)
        served = await context.model(request, parsed.body)
        params = pooling_params(task="classify", use_activation=activation_of(parsed.body))
        response_id, results = await until_disconnect(
            request, run_texts(served, request, parsed.body, params, prefix="classify-"))
        head = {"id": response_id, "object": "list", "created": int(time.time()),
                "model": parsed.body.model or served.names[0]}
        pieces = json_pieces(head, "data", _items(results, _labels(served)), {"usage": usage_of(results)})
        return await answer_of(served.work.numbers, pieces, ignored_header(parsed.ignored))

    return router


def _labels(served: ServedModel) -> dict[int, str]:
    """The names of the classes that the model's config has."""
    names = served.engine.config.model.hf_config.get("id2label") or {}
    return {int(index): str(name) for index, name in names.items()}


def _items(results: list[Output], labels: dict[int, str]) -> Iterator[dict[str, Any]]:
    for i, result in enumerate(results):
        probs = array_of(result)
        best = int(probs.argmax())
        yield {"index": i, "label": labels.get(best, f"LABEL_{best}"), "probs": probs.tolist(),
               "num_classes": probs.size}

"""POST /score and /v1/score: how well two texts fit, for one pair or many."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response

from weft.server.context import ServerContext
from weft.server.disconnect import until_disconnect
from weft.server.errors import ApiError
from weft.server.pooling.answer import answer_of, json_pieces
from weft.server.pooling.job import usage_of
from weft.server.pooling.pairs import Texts, run_pairs, texts_of
from weft.server.pooling.schemas import ScoreBody
from weft.server.request_fields import ignored_header

_NAMES = (("data_1", "data_2"), ("text_1", "text_2"), ("queries", "documents"), ("queries", "items"))


def score_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    async def score(request: Request) -> Response:
        parsed = await context.read(request, ScoreBody)
        served = await context.model(request, parsed.body)
        first, second = _sides(parsed.body)
        found = await until_disconnect(
            request, run_pairs(served, request, parsed.body, first, second, prefix="score-"))
        head = {"id": found.response_id, "object": "list", "created": int(time.time()),
                "model": parsed.body.model or served.names[0]}
        items = ({"index": i, "object": "score", "score": value} for i, value in enumerate(found.scores))
        pieces = json_pieces(head, "data", items, {"usage": usage_of(found.outputs)})
        return await answer_of(served.work.numbers, pieces, ignored_header(parsed.ignored))

    for path in ("/score", "/v1/score"):
        router.add_api_route(path, score, methods=["POST"])
    return router


def _sides(body: ScoreBody) -> tuple[Texts, Texts]:
    """Both sides of the pairs. ApiError 400 unless the body has exactly one pair of names."""
    given = {name for name in {name for names in _NAMES for name in names} if getattr(body, name) is not None}
    for names in _NAMES:
        if given == {*names}:
            return texts_of(names[0], getattr(body, names[0])), texts_of(names[1], getattr(body, names[1]))
    pairs = ", ".join(" and ".join(names) for names in _NAMES)
    raise ApiError(400, f"The body has {', '.join(sorted(given)) or 'no texts'}: expected one of the pairs {pairs}.",
                   min(given, default="data_1"))

"""POST /rerank, /v1/rerank and /v2/rerank, in Jina's and Cohere's shapes: documents ranked by how they fit a query."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request, Response

from weft.server.context import ServerContext
from weft.server.disconnect import until_disconnect
from weft.server.errors import bad_field
from weft.server.pooling.answer import answer_of, json_pieces
from weft.server.pooling.job import usage_of
from weft.server.pooling.pairs import run_pairs, texts_of
from weft.server.pooling.schemas import RerankBody
from weft.server.request_fields import ignored_header


def rerank_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    async def rerank(request: Request) -> Response:
        parsed = await context.read(request, RerankBody)
        body = parsed.body
        served = await context.model(request, body)
        if body.top_n < 0:
            raise bad_field("top_n", body.top_n, expected="an integer of at least 0 (0: all documents)")
        if isinstance(body.query, list):
            raise bad_field("query", body.query, expected="one text", hint="/score takes several.")
        if not isinstance(body.documents, list):
            raise bad_field("documents", body.documents, expected="a list of texts")
        query, documents = texts_of("query", body.query), texts_of("documents", body.documents)
        found = await until_disconnect(
            request, run_pairs(served, request, body, query, documents, prefix="rerank-"))
        head = {"id": found.response_id, "model": body.model or served.names[0]}
        ranked = best_first(found.scores)[: body.top_n or None]
        items = _items(ranked, found.scores, documents.texts if body.return_documents else None)
        tail = {"usage": usage_of(found.outputs), "meta": {"billed_units": {"search_units": 1}}}
        pieces = json_pieces(head, "results", items, tail)
        return await answer_of(served.work.numbers, pieces, ignored_header(parsed.ignored))

    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        router.add_api_route(path, rerank, methods=["POST"])
    return router


def best_first(scores: list[float]) -> list[int]:
    """The places of the scores, the largest first; equal ones in their order."""
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def _items(ranked: list[int], scores: list[float], texts: list[str] | None) -> Iterator[dict[str, Any]]:
    for i in ranked:
        document = {} if texts is None else {"document": {"text": texts[i]}}
        yield {"index": i, **document, "relevance_score": scores[i]}

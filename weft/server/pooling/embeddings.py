"""POST /v1/embeddings and /pooling: vectors of texts, or what else a pooling model makes of them, as numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from weft.frontend.pooling_inputs import default_task
from weft.pooling_params import PoolingParams
from weft.server.context import ServerContext
from weft.server.disconnect import until_disconnect
from weft.server.errors import bad_field
from weft.server.openai.schemas import Parsed
from weft.server.pooling.answer import JSON, answer_of, json_pieces
from weft.server.pooling.job import Output, array_of, pooling_params, run_texts, usage_of
from weft.server.pooling.numbers import NumberFormat
from weft.server.pooling.schemas import EmbeddingBody, PoolingBody, VectorsBody, activation_of
from weft.server.request_fields import ignored_header
from weft.server.served import ServedModel
from weft.server.tasks import require_task

_MAX_HEADER_BYTES = 2**14      # of `metadata`: clients read headers up to 16 to 64 KiB
_BYTES = "application/octet-stream"


def embeddings_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        parsed = await context.read(request, EmbeddingBody)
        served = await context.model(request, parsed.body)
        return await _vectors(served, request, parsed, "embed", prefix="embd-")

    @router.post("/pooling")
    async def pooling(request: Request) -> Response:
        parsed = await context.read(request, PoolingBody)
        served = await context.model(request, parsed.body)
        tasks = served.engine.info.tasks
        task = parsed.body.task or default_task(tasks)
        require_task(request.url.path, task, tasks)
        return await _vectors(served, request, parsed, task, prefix="pool-")

    return router


async def _vectors(served: ServedModel, request: Request, parsed: Parsed[Any], task: str, *, prefix: str) -> Response:
    body: VectorsBody = parsed.body
    form = NumberFormat(body.encoding_format, body.embed_dtype, body.endianness)
    params: PoolingParams = pooling_params(task=task, dimensions=body.dimensions, use_activation=activation_of(body))
    response_id, results = await until_disconnect(request, run_texts(served, request, body, params, prefix=prefix))
    head = {"id": response_id, "object": "list", "created": int(time.time()),
            "model": body.model or served.names[0]}
    if form.is_plain:
        return await _plain(served, head, results, form, ignored_header(parsed.ignored))
    kind, name = ("embedding", "embedding") if prefix == "embd-" else ("pooling", "data")
    items = (_item({"index": i, "object": kind}, name, form, array_of(result)) for i, result in enumerate(results))
    pieces = json_pieces(head, "data", items, {"usage": usage_of(results)})
    return await answer_of(served.work.numbers, pieces, ignored_header(parsed.ignored), JSON)


def _item(head: dict[str, Any], name: str, form: NumberFormat, array: NDArray[Any]) -> Any:
    """One result, for `json_pieces`. Rows of tokens come one by one: as Python's objects they take much memory."""
    if array.ndim == 1 or form.encoding != "float":
        return {**head, name: form.value(array)}
    return json_pieces(head, name, (row.tolist() for row in array), {})


async def _plain(served: ServedModel, head: dict[str, Any], results: list[Output], form: NumberFormat,
                 headers: dict[str, str]) -> Response:
    if form.encoding == "bytes":
        metadata = msgspec.json.encode({**head, "data": list(_places(results, form)), "usage": usage_of(results)})
        if len(metadata) > _MAX_HEADER_BYTES:
            raise bad_field("encoding_format", "bytes", expected=f"texts whose description, the header `metadata`, has "
                            f"up to {_MAX_HEADER_BYTES} bytes (here {len(metadata)})",
                            hint="Send fewer texts in a request, or ask for bytes_only.")
        headers = headers | {"metadata": metadata.decode("ascii")}
    return await answer_of(served.work.numbers, (form.bytes(array_of(result)) for result in results), headers, _BYTES)


def _places(results: list[Output], form: NumberFormat) -> Iterator[dict[str, Any]]:
    """Where the bytes of each result are."""
    start = 0
    for i, result in enumerate(results):
        end = start + len(form.bytes(array_of(result)))
        yield {"index": i, "embed_dtype": form.dtype, "endianness": form.endianness, "start": start, "end": end,
               "shape": list(array_of(result).shape)}
        start = end

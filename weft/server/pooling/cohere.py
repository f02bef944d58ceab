"""POST /v2/embed and /v1/embed in Cohere's shape: vectors of texts in several number types at once."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from weft.resolve.hf.pooling import read_pooling
from weft.resolve.hf.prompts import read_prompts
from weft.server.context import ServerContext
from weft.server.disconnect import until_disconnect
from weft.server.errors import ApiError, bad_field, renamed_fields
from weft.server.openai.schemas import Parsed
from weft.server.pooling.answer import answer_of
from weft.server.pooling.inputs import Inputs
from weft.server.pooling.job import Output, array_of, pooling_params, run_inputs
from weft.server.pooling.pairs import texts_of
from weft.server.pooling.schemas import CohereBody
from weft.server.request_fields import ignored_header
from weft.server.served import ServedModel

# Cohere's kinds of texts -> names of prompts of sentence-transformers; the first one that the model has counts.
INPUT_TYPES = {"search_query": ("search_query", "query"),
               "search_document": ("search_document", "document", "passage", "corpus"),
               "classification": ("classification",), "clustering": ("clustering",)}


def _int8(array: NDArray[Any]) -> NDArray[Any]:
    """Each vector scaled so that its largest number is 127: the cosines of vectors stay what they are."""
    largest = float(np.abs(array).max(initial=0.0)) or 1.0
    return np.rint(array * (127 / largest)).astype(np.int8)


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    """A bit for each number, 1 for those above 0; eight in a byte, the first one the highest."""
    return np.packbits(array > 0)


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


EMBEDDING_TYPES: dict[str, Callable[[NDArray[Any]], Any]] = {
    "float": lambda array: array.tolist(),
    "int8": lambda array: _int8(array).tolist(),
    "uint8": lambda array: (_int8(array).astype(np.int16) + 128).tolist(),
    "binary": lambda array: (_bits(array).astype(np.int16) - 128).tolist(),
    "ubinary": lambda array: _bits(array).tolist(),
    "base64": _base64,
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A checked body. texts: as the client sent them, without prompts. types: None: the older answer of floats."""

    texts: list[str]
    inputs: Inputs
    types: list[str] | None
    body: CohereBody


def cohere_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    async def embed(request: Request) -> Response:
        parsed = await context.read(request, CohereBody)
        served = await context.model(request, parsed.body)
        asked = _asked(served, parsed, is_old=request.url.path.endswith("/v1/embed"))
        params = pooling_params(task="embed", dimensions=parsed.body.output_dimension)
        with renamed_fields({"dimensions": "output_dimension", "truncate_prompt_tokens": "max_tokens"}):
            response_id, results = await until_disconnect(
                request, run_inputs(served, request, parsed.body, asked.inputs, params, prefix="embd-"))
        pieces = _pieces(response_id, asked, results)
        return await answer_of(served.work.numbers, pieces, ignored_header(parsed.ignored))

    for path in ("/v2/embed", "/v1/embed"):
        router.add_api_route(path, embed, methods=["POST"])
    return router


def _asked(served: ServedModel, parsed: Parsed[CohereBody], *, is_old: bool) -> _Asked:
    body = parsed.body
    if (body.texts is None) == (body.inputs is None):
        raise ApiError(400, "Give either texts or inputs.", "texts")
    field, value = ("texts", body.texts) if body.texts is not None else ("inputs", body.inputs)
    found, types = texts_of(field, value), body.embedding_types
    for i, name in enumerate(types or ()):
        if name not in EMBEDDING_TYPES:
            raise bad_field(f"embedding_types.{i}", name, expected=f"one of {', '.join(EMBEDDING_TYPES)}")
    if body.truncate == "NONE" and body.max_tokens is not None:
        raise bad_field("max_tokens", body.max_tokens, expected="none with truncate NONE")
    if not types:
        types = None if is_old else ["float"]
    path = served.engine.config.model.path
    prompt = _prompt(_prompts(path), body.input_type)
    if prompt and not _includes_prompt(path):
        raise ApiError(501, f"input_type: the model's files (include_prompt) leave the prompt {prompt!r} out of the "
                       "pooling, which weft has no code for. Send no input_type.", "input_type")
    inputs = Inputs([prompt + text for text in found.texts], found.places)
    return _Asked(found.texts, inputs, types and list(dict.fromkeys(types)), body)


@cache
def _prompts(path: str) -> dict[str, str]:
    return read_prompts(Path(path))


@cache
def _includes_prompt(path: str) -> bool:
    found = read_pooling(Path(path))
    return found is None or found.includes_prompt


def _prompt(prompts: Mapping[str, str], input_type: str | None) -> str:
    """What the model's files put before texts of this kind; "" where they have nothing for it."""
    if input_type is None:
        return ""
    names = (input_type, *INPUT_TYPES.get(input_type, ()))
    if input_type not in INPUT_TYPES and input_type not in prompts:
        known = dict.fromkeys((*INPUT_TYPES, *prompts))
        raise bad_field("input_type", input_type, expected=f"one of {', '.join(known)}")
    return next((prompts[name] for name in names if name in prompts), "")


def _pieces(response_id: str, asked: _Asked, results: list[Output]) -> Iterator[bytes]:
    """The answer as JSON, a vector at a time."""
    kind = "embeddings_floats" if asked.types is None else "embeddings_by_type"
    yield msgspec.json.encode({"id": response_id, "response_type": kind, "texts": asked.texts})[:-1] + b',"embeddings":'
    if asked.types is None:
        yield from _vectors("float", results)
    else:
        for i, name in enumerate(asked.types):
            yield (b"," if i else b"{") + msgspec.json.encode(name) + b":"
            yield from _vectors(name, results)
        yield b"}"
    num_tokens = sum(len(result.prompt_token_ids) for result in results)
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": num_tokens}}
    yield b',"meta":' + msgspec.json.encode(meta) + b"}"


def _vectors(name: str, results: list[Output]) -> Iterator[bytes]:
    for i, result in enumerate(results):
        yield (b"," if i else b"[") + msgspec.json.encode(EMBEDDING_TYPES[name](array_of(result)))
    yield b"]"

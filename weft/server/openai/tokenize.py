"""POST /tokenize and /detokenize: text or chat messages to token ids, and token ids to text."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from weft.server.context import ServerContext
from weft.server.errors import ApiError, bad_field
from weft.server.openai.prompts import read_chat
from weft.server.openai.schemas import DetokenizeBody, TokenizeBody
from weft.server.request_fields import ignored_header
from weft.server.served import ServedModel


def tokenize_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    @router.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        parsed = await context.read(request, TokenizeBody)
        served = await context.model(request, parsed.body)
        return _json(await _tokenize(served, parsed.body), parsed.ignored)

    @router.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        parsed = await context.read(request, DetokenizeBody)
        served = await context.model(request, parsed.body)
        return _json({"prompt": await _detokenize(served, parsed.body.tokens)}, parsed.ignored)

    return router


async def _tokenize(served: ServedModel, body: TokenizeBody) -> dict[str, Any]:
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "Give either prompt or messages.", "prompt")
    tokenizer = served.require_tokenizer()
    special = body.add_special_tokens if body.add_special_tokens is not None else body.messages is None
    if body.messages is not None:
        token_ids = (await read_chat(served, body, "messages", add_special_tokens=special)).token_ids
    else:
        token_ids = await served.encode(body.prompt, "prompt", add_special_tokens=special) if body.prompt else []
    strings = [tokenizer.token_text(token_id) for token_id in token_ids] if body.return_token_strs else None
    return {"count": len(token_ids), "max_model_len": served.engine.info.max_model_len, "tokens": token_ids,
            "token_strs": strings}


async def _detokenize(served: ServedModel, token_ids: list[int]) -> str:
    tokenizer = served.require_tokenizer()
    # A padded vocabulary: the model may generate ids that the tokenizer has no token for.
    vocab_size = max(tokenizer.vocab_size, served.engine.config.model.vocab_size)
    for i, token_id in enumerate(token_ids):
        if not 0 <= token_id < vocab_size:
            raise bad_field(f"tokens.{i}", token_id, expected=f"token ids from 0 to {vocab_size - 1} (the vocabulary)")
    return await served.work.answers.run(tokenizer.decode, token_ids, skip_special_tokens=False)


def _json(value: dict[str, Any], ignored: tuple[str, ...]) -> Response:
    return Response(msgspec.json.encode(value), headers=ignored_header(ignored), media_type="application/json")

"""POST /v1/chat/completions/batch: several conversations with the same parameters; one choice for each, in their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from fastapi import APIRouter, Request, Response

from weft.outputs import RequestOutput
from weft.server.context import ServerContext
from weft.server.disconnect import until_disconnect
from weft.server.errors import bad_field, renamed_fields
from weft.server.openai.chat import choices_of, head_of
from weft.server.openai.generation import prompt_fields, usage_of
from weft.server.openai.logprobs import prompt_logprobs
from weft.server.openai.schemas import BatchChatBody, ChatBody, Parsed
from weft.server.openai.turn import Turn, prepare_turn
from weft.server.request_fields import ignored_header
from weft.server.served import ServedModel

_ONE_BY_ONE = "Send such a conversation to /v1/chat/completions."


def chat_batch_router(context: ServerContext) -> APIRouter:
    """The route, for the app of `context`."""
    router = APIRouter()

    @router.post("/v1/chat/completions/batch")
    async def chat_completions_batch(request: Request) -> Response:
        parsed = await context.read(request, BatchChatBody)
        _check(parsed)
        served = await context.model(request, parsed.body)
        turns = await until_disconnect(request, _prepare(served, request, parsed))
        outputs = await until_disconnect(request, _run(turns))
        answer = await served.work.answers.run(_response, turns, outputs)
        return Response(answer, headers=ignored_header(parsed.ignored), media_type="application/json")

    return router


def _check(parsed: Parsed[BatchChatBody]) -> None:
    body, given = parsed.body, parsed.sampling
    for name, value, off in (("stream", body.stream, False), ("tools", body.tools, None), ("n", given.get("n", 1), 1),
                             ("use_beam_search", given.get("use_beam_search", False), False)):
        if value != off:
            raise bad_field(name, value, expected=f"{off} in a batch", hint=_ONE_BY_ONE)


async def _prepare(served: ServedModel, request: Request, parsed: Parsed[BatchChatBody]) -> list[Turn]:
    turns = []
    for i, messages in enumerate(parsed.body.messages):
        body = ChatBody.model_construct(parsed.body.model_fields_set, **{**dict(parsed.body), "messages": messages})
        with renamed_fields({"messages": f"messages.{i}"}):
            turns.append(await prepare_turn(served, request, Parsed(body, parsed.sampling, ())))
    return turns


async def _run(turns: Sequence[Turn]) -> list[RequestOutput]:
    """The finished outputs. All turns are ended if one fails, or if the client leaves."""
    tasks = [asyncio.create_task(turn.generation.final()) for turn in turns]
    try:
        return [output for task in tasks for output in await task]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _response(turns: Sequence[Turn], outputs: Sequence[RequestOutput]) -> bytes:
    choices, num_reasoning_tokens = [], None
    for i, (turn, output) in enumerate(zip(turns, outputs, strict=True)):
        [choice], count = choices_of(turn, output)
        num_reasoning_tokens = count if num_reasoning_tokens is None else num_reasoning_tokens + (count or 0)
        choices.append({**choice, "index": i, "prompt_logprobs": prompt_logprobs(output.prompt_logprobs),
                        **prompt_fields(turn.served, turn.body, output)})
    return msgspec.json.encode({**head_of(turns[0], "chat.completion"), "choices": choices,
                                "usage": usage_of(outputs, num_reasoning_tokens)})

"""POST /v1/chat/completions in OpenAI's shape: messages in, a message out, whole or as a stream.

A stream sends the role, then pieces of content, the finish reason, and usage if requested.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from weft.outputs import CompletionOutput, RequestOutput
from weft.server.context import ServerContext
from weft.server.disconnect import started_stream, until_disconnect
from weft.server.openai.answer_parts import AnswerParts, delta_of
from weft.server.openai.generation import prompt_fields, token_fields, usage_of
from weft.server.openai.logprobs import chat_logprobs, prompt_logprobs
from weft.server.openai.schemas import ChatBody
from weft.server.openai.streaming import StreamUsage, closed_with_done, event
from weft.server.openai.turn import Turn, prepare_turn
from weft.server.request_fields import ignored_header
from weft.server.token_times import TokenClock


def chat_router(context: ServerContext) -> APIRouter:
    """The route, for the app of `context`."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        parsed = await context.read(request, ChatBody)
        served = await context.model(request, parsed.body)
        headers = ignored_header(parsed.ignored)
        turn = await until_disconnect(request, prepare_turn(served, request, parsed))
        if parsed.body.stream:
            return await started_stream(request, closed_with_done(_stream(turn)), headers)
        outputs = await until_disconnect(request, turn.generation.final())
        answer = await served.work.answers.run(_response, turn, outputs[0])
        return Response(answer, headers=headers, media_type="application/json")

    return router


def head_of(turn: Turn, kind: str) -> dict[str, Any]:
    """The first fields of the response and of each chunk."""
    return {"id": turn.response_id, "object": kind, "created": turn.created, "model": turn.model,
            **turn.served.head()}


def _logprobs(turn: Turn, answer: CompletionOutput) -> dict[str, Any] | None:
    """`logprobs` of an answer, or of a part of it; None unless requested."""
    if turn.params.logprobs is None or not answer.token_ids:
        return None
    return chat_logprobs(turn.names, answer.token_ids, answer.logprobs or [], turn.num_top_logprobs)


def choices_of(turn: Turn, output: RequestOutput) -> tuple[list[dict[str, Any]], int | None]:
    """The choices of a finished output, and the tokens of their reasoning. Slow: for a thread."""
    parts = [turn.parts() for _ in output.outputs]
    for part, answer in zip(parts, output.outputs, strict=True):
        part.push(answer)
    choices = [{"index": answer.index, "message": part.message(turn.role, turn.echo),
                "logprobs": _logprobs(turn, answer), "finish_reason": part.finish_reason(answer),
                "stop_reason": answer.stop_reason, **token_fields(answer, turn.body.return_token_ids)}
               for part, answer in zip(parts, output.outputs, strict=True)]
    return choices, turn.num_reasoning_tokens(parts)


def _response(turn: Turn, output: RequestOutput) -> bytes:
    choices, num_reasoning_tokens = choices_of(turn, output)
    return msgspec.json.encode({**head_of(turn, "chat.completion"), "choices": choices,
                                "usage": usage_of([output], num_reasoning_tokens),
                                "prompt_logprobs": prompt_logprobs(output.prompt_logprobs),
                                **prompt_fields(turn.served, turn.body, output)})


async def _stream(turn: Turn) -> AsyncGenerator[bytes, None]:
    head = head_of(turn, "chat.completion.chunk")
    counts = StreamUsage(turn.body.stream_options, always=turn.served.options.enable_force_include_usage)
    clock, begun = TokenClock(turn.served.metrics.token_times), False
    parts = [turn.parts() for _ in range(turn.params.n)]
    async with aclosing(turn.generation.outputs()) as outputs:
        async for _, output in outputs:
            counts.count(0, output)
            if not begun:
                begun = True
                yield b"".join(event({**head, **first, **counts.in_chunk(0, first["choices"][0]["index"])})
                               for first in _openings(turn, output))
            for answer in output.outputs:
                counts.count_answer(answer.index, answer.token_ids)
                clock.tick((0, answer.index), len(answer.token_ids))
                for choice in _deltas(turn, answer, parts[answer.index]):
                    yield event({**head, "choices": [choice], **counts.in_chunk(0, answer.index)})
    if counts.at_end:
        num_reasoning_tokens = await turn.served.work.answers.run(turn.num_reasoning_tokens, parts)
        yield event({**head, "choices": [], "usage": counts.total(num_reasoning_tokens)})


def _openings(turn: Turn, output: RequestOutput) -> list[dict[str, Any]]:
    """The first chunks of each answer: one with the role and, if `echo` is set, one with the echoed text."""
    ids = prompt_fields(turn.served, turn.body, output)
    chunks = [({"role": turn.role, "content": ""}, ids)] + ([({"content": turn.echo}, {})] if turn.echo else [])
    return [{"choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}], **extra}
            for index in range(turn.params.n) for delta, extra in chunks]


def _deltas(turn: Turn, answer: CompletionOutput, parts: AnswerParts) -> list[dict[str, Any]]:
    """The choices for one part of an answer: one for each event, and one with the finish reason, if any.

    The first has the log-probabilities and ids of the part's tokens, also where these have no text yet.
    """
    deltas, logprobs = [delta_of(event) for event in parts.push(answer)], _logprobs(turn, answer)
    if not deltas and (logprobs is not None or (turn.body.return_token_ids and answer.token_ids)):
        deltas = [{"content": ""}]
    choices = [{"index": answer.index, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas]
    if choices:
        choices[0] |= {"logprobs": logprobs, **token_fields(answer, turn.body.return_token_ids)}
    if answer.finish_reason is not None:
        choices.append({"index": answer.index, "delta": {}, "logprobs": None,
                        "finish_reason": parts.finish_reason(answer), "stop_reason": answer.stop_reason})
    return choices

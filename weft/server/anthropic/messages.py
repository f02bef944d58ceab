"""POST /v1/messages and /v1/messages/count_tokens in Anthropic's shape: messages in, content blocks out.

A body becomes a chat body (`request.py`), so that a message is a turn like a chat's, under the same checks.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from weft.outputs import CompletionOutput, RequestOutput
from weft.server.anthropic.blocks import BlockStream, whole_blocks
from weft.server.anthropic.request import chat_fields, thinking_fields
from weft.server.anthropic.schemas import CountTokensBody, MessagesBody
from weft.server.context import ServerContext
from weft.server.disconnect import started_stream, until_disconnect
from weft.server.errors import anthropic_body, renamed_fields
from weft.server.openai.answer_parts import AnswerParts
from weft.server.openai.prompts import read_chat
from weft.server.openai.schemas import ChatBody, Parsed, parse
from weft.server.openai.streaming import closed_stream
from weft.server.openai.turn import Turn, prepare_turn
from weft.server.request_fields import ignored_header
from weft.server.served import ServedModel
from weft.server.token_times import TokenClock
from weft.text.reasoning.reasoning_format import ReasoningFormat

# Field of a chat body -> the field of this route that it comes from.
_NAMES = {"stop": "stop_sequences", "reasoning_effort": "output_config.effort",
          "response_format": "output_config.format"}


def messages_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router = APIRouter()

    @router.post("/v1/messages")
    async def messages(request: Request) -> Response:
        parsed = await context.read(request, MessagesBody)
        served = await context.model(request, parsed.body)
        with renamed_fields(_NAMES):
            chat = await served.work.prompts.run(_chat, served, parsed)
            turn = await until_disconnect(request, prepare_turn(served, request, chat, prefix="msg_"))
        headers = {"request-id": turn.response_id, **ignored_header(parsed.ignored)}
        if parsed.body.stream:
            events = closed_stream(_stream(turn), lambda error: _event(anthropic_body(error)))
            return await started_stream(request, events, headers)
        outputs = await until_disconnect(request, turn.generation.final())
        answer = await served.work.answers.run(_message, turn, outputs[0])
        return Response(msgspec.json.encode(answer), headers=headers, media_type="application/json")

    @router.post("/v1/messages/count_tokens")
    async def count_tokens(request: Request) -> Response:
        parsed = await context.read(request, CountTokensBody)
        served = await context.model(request, parsed.body)
        with renamed_fields(_NAMES):
            chat = await served.work.prompts.run(_chat, served, parsed)
            prompt = await read_chat(served, chat.body, "messages", add_special_tokens=False)
        return Response(msgspec.json.encode({"input_tokens": len(prompt.token_ids)}), media_type="application/json",
                        headers=ignored_header(parsed.ignored))

    return router


def _chat(served: ServedModel, parsed: Parsed[Any]) -> Parsed[ChatBody]:
    """The chat body that a body of Anthropic's means."""
    body, has_switch = parsed.body, served.require_renderer().reads("enable_thinking")
    fields = chat_fields(body) | thinking_fields(
        body.thinking, has_switch=has_switch,
        has_marks=isinstance(served.parsers.reasoning, ReasoningFormat)) | parsed.sampling
    if isinstance(body, MessagesBody):
        fields |= {"max_tokens": body.max_tokens, "stream": body.stream}
        fields |= {"stop": body.stop_sequences} if body.stop_sequences else {}
    return parse(ChatBody, fields)


def _head(turn: Turn) -> dict[str, Any]:
    return {"id": turn.response_id, "type": "message", "role": "assistant", "model": turn.model}


def _usage(output: RequestOutput, num_tokens: int) -> dict[str, Any]:
    """Anthropic counts the input's tokens that were found in a cache apart from the others."""
    cached = output.num_cached_tokens or 0
    return {"input_tokens": output.num_prompt_tokens - cached, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached, "output_tokens": num_tokens}


def _message(turn: Turn, output: RequestOutput) -> dict[str, Any]:
    answer, parts = output.outputs[0], turn.parts()
    parts.push(answer)
    return {**_head(turn), "content": whole_blocks(parts.answer),
            **_stop(turn, answer, len(answer.token_ids), has_calls=parts.answer.has_calls),
            "usage": _usage(output, len(answer.token_ids))}


def _stop(turn: Turn, answer: CompletionOutput, num_tokens: int, *, has_calls: bool) -> dict[str, Any]:
    """Why the answer ended, in Anthropic's words."""
    if answer.finish_reason == "length":
        is_asked = num_tokens == turn.params.max_tokens
        return {"stop_reason": "max_tokens" if is_asked else "model_context_window_exceeded", "stop_sequence": None}
    if isinstance(answer.stop_reason, str) and answer.stop_reason in (turn.params.stop or ()):
        return {"stop_reason": "stop_sequence", "stop_sequence": answer.stop_reason}
    return {"stop_reason": "tool_use" if has_calls else "end_turn", "stop_sequence": None}


async def _stream(turn: Turn) -> AsyncGenerator[bytes, None]:
    clock, blocks, parts, has_begun = TokenClock(turn.served.metrics.token_times), BlockStream(), turn.parts(), False
    async with aclosing(turn.generation.outputs()) as outputs:
        async for _, output in outputs:
            if not has_begun:
                has_begun = True
                begun = {**_head(turn), "content": [], "stop_reason": None, "stop_sequence": None,
                         "usage": _usage(output, 0)}
                yield _event({"type": "message_start", "message": begun}) + _event({"type": "ping"})
            for answer in output.outputs:
                clock.tick((0, 0), len(answer.token_ids))
                if events := blocks.add(parts.push(answer)):
                    yield b"".join(map(_event, events))
                if answer.finish_reason is not None:
                    yield b"".join(map(_event, [*blocks.end(), *_last(turn, output, answer, parts)]))


def _last(turn: Turn, output: RequestOutput, answer: CompletionOutput, parts: AnswerParts) -> list[dict[str, Any]]:
    num_tokens = len(parts.token_ids)
    stop = _stop(turn, answer, num_tokens, has_calls=parts.answer.has_calls)
    return [{"type": "message_delta", "delta": stop, "usage": _usage(output, num_tokens)}, {"type": "message_stop"}]


def _event(data: dict[str, Any]) -> bytes:
    return b"event: " + data["type"].encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"

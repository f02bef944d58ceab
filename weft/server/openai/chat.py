"""POST /v1/chat/completions in OpenAI's shape: messages in, a message out, whole or as a stream.

A stream sends the role, then pieces of content, the finish reason, and usage if requested.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from weft.outputs import CompletionOutput, RequestOutput
from weft.sampling_params import MAX_COUNT, SamplingParams
from weft.server.context import ServerContext, ignored_header, request_id_of
from weft.server.disconnect import started_stream, until_disconnect
from weft.server.errors import bad_field
from weft.server.metrics import TokenClock
from weft.server.openai.generation import Generation, sampling_params, token_fields, usage_of
from weft.server.openai.logprobs import TokenNames, chat_logprobs, prompt_logprobs
from weft.server.openai.prompts import check_tools, render
from weft.server.openai.schemas import ChatBody, Parsed
from weft.server.openai.streaming import StreamUsage, check_stream_options, closed_stream, event


def chat_router(context: ServerContext) -> APIRouter:
    """The route, for the app of `context`."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        parsed = await context.read(request, ChatBody)
        headers = ignored_header(parsed.ignored)
        job = await until_disconnect(request, _prepare(context, request, parsed))
        if parsed.body.stream:
            return await started_stream(request, closed_stream(_stream(job)), headers)
        outputs = await until_disconnect(request, job.generation.final())
        answer = await asyncio.to_thread(_response, job, outputs[0])
        return Response(answer, headers=headers, media_type="application/json")

    return router


@dataclass(slots=True)
class _Job:
    """One chat request, ready to run. role: the answer's role. echo: the text before it, for a continued message."""

    context: ServerContext
    body: ChatBody
    params: SamplingParams
    generation: Generation
    names: TokenNames
    response_id: str
    created: int
    role: str
    echo: str

    def head(self, kind: str) -> dict[str, Any]:
        """The first fields of the response and of each chunk."""
        return {"id": self.response_id, "object": kind, "created": self.created,
                "model": self.body.model or self.context.model_names[0]}

    def logprobs(self, answer: CompletionOutput) -> dict[str, Any] | None:
        """`logprobs` of an answer, or of a part of it; None unless requested."""
        if not self.body.logprobs or not answer.token_ids:
            return None
        return chat_logprobs(self.names, answer.token_ids, answer.logprobs or [], self.body.top_logprobs or 0)


async def _prepare(context: ServerContext, request: Request, parsed: Parsed[ChatBody]) -> _Job:
    body, given = parsed.body, parsed.sampling
    check_stream_options(body.stream, body.stream_options, given.get("prompt_logprobs"))
    check_tools(body)
    if body.top_logprobs is not None and not body.logprobs:
        raise bad_field("top_logprobs", body.top_logprobs, expected="null unless logprobs is true")
    limit = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    max_tokens = getattr(body, limit)
    if max_tokens is not None and not 1 <= max_tokens <= MAX_COUNT:
        raise bad_field(limit, max_tokens, expected=f"an integer from 1 to {MAX_COUNT}")
    if body.top_logprobs is not None and not 0 <= body.top_logprobs <= MAX_COUNT:
        raise bad_field("top_logprobs", body.top_logprobs, expected=f"an integer from 0 to {MAX_COUNT}")
    params = sampling_params(context, given, max_tokens=max_tokens, prompt_logprobs=None, stream=body.stream,
                             logprobs=(body.top_logprobs or 0) if body.logprobs else None)
    prompt = await render(context, body)
    token_ids = await context.encode(prompt, "messages", add_special_tokens=body.add_special_tokens)
    response_id = "chatcmpl-" + request_id_of(request, body.request_id)
    generation = Generation(
        context, [{"prompt_token_ids": token_ids}], params, response_id=response_id, cache_salt=body.cache_salt,
        priority=context.priority(request, body.priority), places=["messages"],
        fields={"logprobs": "top_logprobs", "max_tokens": limit})
    as_ids = body.return_tokens_as_token_ids
    names = TokenNames(context.engine.tokenizer,
                       as_ids=context.options.return_tokens_as_token_ids if as_ids is None else as_ids)
    role = context.options.response_role if body.add_generation_prompt else body.messages[-1].get("role", "assistant")
    return _Job(context, body, params, generation, names, response_id, int(time.time()), role,
                _echo(body.messages[-1], role) if body.echo else "")


def _echo(message: dict[str, Any], role: str) -> str:
    content = message.get("content")
    if message.get("role") != role or content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def _response(job: _Job, output: RequestOutput) -> bytes:
    choices = [{"index": answer.index,
                "message": {"role": job.role, "content": job.echo + answer.text, "refusal": None},
                "logprobs": job.logprobs(answer), "finish_reason": answer.finish_reason,
                "stop_reason": answer.stop_reason, **token_fields(answer, job.body.return_token_ids)}
               for answer in output.outputs]
    ids = {"prompt_token_ids": output.prompt_token_ids} if job.body.return_token_ids else {}
    return msgspec.json.encode({**job.head("chat.completion"), "choices": choices, "usage": usage_of([output]),
                                "prompt_logprobs": prompt_logprobs(output.prompt_logprobs), **ids})


async def _stream(job: _Job) -> AsyncGenerator[bytes, None]:
    head = job.head("chat.completion.chunk")
    counts = StreamUsage(job.body.stream_options, always=job.context.options.enable_force_include_usage)
    clock, begun = TokenClock(job.context.metrics), False
    async with aclosing(job.generation.outputs()) as outputs:
        async for _, output in outputs:
            counts.count(0, output)
            if not begun:
                begun = True
                yield b"".join(event({**head, **first, **counts.in_chunk(0, first["choices"][0]["index"])})
                               for first in _openings(job, output))
            for answer in output.outputs:
                counts.count_answer(answer.index, answer.token_ids)
                clock.tick((0, answer.index), len(answer.token_ids))
                for choice in _deltas(job, answer):
                    yield event({**head, "choices": [choice], **counts.in_chunk(0, answer.index)})
    if counts.at_end:
        yield event({**head, "choices": [], "usage": counts.total()})


def _openings(job: _Job, output: RequestOutput) -> list[dict[str, Any]]:
    """The first chunks of each answer: one with the role and, if `echo` is set, one with the echoed text."""
    ids = {"prompt_token_ids": output.prompt_token_ids} if job.body.return_token_ids else {}
    chunks = [({"role": job.role, "content": ""}, ids)] + ([({"content": job.echo}, {})] if job.echo else [])
    return [{"choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}], **extra}
            for index in range(job.params.n) for delta, extra in chunks]


def _deltas(job: _Job, answer: CompletionOutput) -> list[dict[str, Any]]:
    """The choices for one part of an answer: one with new content, if any, and one with the finish reason, if any."""
    choices = []
    logprobs = job.logprobs(answer)
    if answer.text or logprobs is not None or (job.body.return_token_ids and answer.token_ids):
        choices.append({"index": answer.index, "delta": {"content": answer.text}, "logprobs": logprobs,
                        "finish_reason": None, **token_fields(answer, job.body.return_token_ids)})
    if answer.finish_reason is not None:
        choices.append({"index": answer.index, "delta": {}, "logprobs": None, "finish_reason": answer.finish_reason,
                        "stop_reason": answer.stop_reason})
    return choices

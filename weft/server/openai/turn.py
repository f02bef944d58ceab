"""`Turn`: one turn of a conversation, ready to run: its prompt is rendered and checked, its parameters are made.

`prepare_turn` makes it from a chat body. Other APIs with conversations translate their bodies into one, so that every
check is made here. A turn knows no shape of responses.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from weft.sampling_params import MAX_COUNT, SamplingParams
from weft.server.context import ServerContext, request_id_of
from weft.server.errors import bad_field
from weft.server.openai.generation import Generation, sampling_params
from weft.server.openai.logprobs import TokenNames
from weft.server.openai.prompts import check_tools, render
from weft.server.openai.schemas import ChatBody, Parsed
from weft.server.openai.streaming import check_stream_options


@dataclass(slots=True)
class Turn:
    """One turn. role: the answer's role. echo: the text before it, for a continued message."""

    context: ServerContext
    body: ChatBody
    params: SamplingParams
    generation: Generation
    names: TokenNames
    response_id: str
    created: int
    role: str
    echo: str

    @property
    def model(self) -> str:
        """The model's name in responses."""
        return self.body.model or self.context.model_names[0]


async def prepare_turn(context: ServerContext, request: Request, parsed: Parsed[ChatBody], *,
                       prefix: str = "chatcmpl-") -> Turn:
    """The turn that a chat body asks for. prefix: of the response's id. ApiError names a wrong field."""
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
    num_top = body.top_logprobs if given.get("logprob_token_ids") else body.top_logprobs or 0
    params = sampling_params(context, given, max_tokens=max_tokens, prompt_logprobs=None, stream=body.stream,
                             logprobs=num_top if body.logprobs else None)
    prompt = await render(context, body)
    token_ids = await context.encode(prompt, "messages", add_special_tokens=body.add_special_tokens)
    response_id = prefix + request_id_of(request, body.request_id)
    generation = Generation(
        context, [{"prompt_token_ids": token_ids}], params, response_id=response_id, cache_salt=body.cache_salt,
        priority=context.priority(request, body.priority), places=["messages"],
        fields={"logprobs": "top_logprobs", "max_tokens": limit})
    as_ids = body.return_tokens_as_token_ids
    names = TokenNames(context.engine.tokenizer,
                       as_ids=context.options.return_tokens_as_token_ids if as_ids is None else as_ids)
    role = context.options.response_role if body.add_generation_prompt else body.messages[-1].get("role", "assistant")
    return Turn(context, body, params, generation, names, response_id, int(time.time()), role,
                _echo(body.messages[-1], role) if body.echo else "")


def _echo(message: dict[str, Any], role: str) -> str:
    content = message.get("content")
    if message.get("role") != role or content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")

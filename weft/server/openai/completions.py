"""POST /v1/completions in OpenAI's shape: prompts as text, token ids or embeddings; completions whole or as a stream.

Choice index = prompt index * n + answer index. Prompts given as embeddings come before the others.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from weft.errors import RequestError
from weft.outputs import CompletionOutput, RequestOutput
from weft.sampling_params import SamplingParams
from weft.server.context import ServerContext
from weft.server.disconnect import started_stream, until_disconnect
from weft.server.errors import ApiError, bad_field, dotted
from weft.server.openai.generation import Generation, prompt_fields, sampling_params, token_fields, usage_of
from weft.server.openai.logprobs import CompletionLogprobs, TokenNames, prompt_logprobs
from weft.server.openai.schemas import MAX_PROMPTS, CompletionBody, Parsed
from weft.server.openai.streaming import StreamUsage, check_stream_options, closed_with_done, event
from weft.server.origin import origin_of
from weft.server.request_fields import ignored_header, priority_of, request_id_of, timeout_of
from weft.server.served import ServedModel
from weft.server.token_times import TokenClock

Prompt = str | list[int]


def completions_router(context: ServerContext) -> APIRouter:
    """The route, for the app of `context`."""
    router = APIRouter()

    @router.post("/v1/completions")
    async def completions(request: Request) -> Response:
        parsed = await context.read(request, CompletionBody)
        served = await context.model(request, parsed.body)
        headers = ignored_header(parsed.ignored)
        job = await until_disconnect(request, _prepare(served, request, parsed))
        if parsed.body.stream:
            return await started_stream(request, closed_with_done(_stream(job)), headers)
        outputs = await until_disconnect(request, job.generation.final())
        answer = await served.work.answers.run(_response, job, outputs)
        return Response(answer, headers=headers, media_type="application/json")

    return router


@dataclass(slots=True)
class _Job:
    """One request, ready to run. texts: each prompt's text for `echo`; None for a prompt without text."""

    served: ServedModel
    body: CompletionBody
    params: SamplingParams
    texts: list[str | None]
    generation: Generation
    names: TokenNames
    head: dict[str, Any] = field(default_factory=dict)      # the first fields of the response and of every chunk

    def echo(self, prompt: int, output: RequestOutput) -> str:
        """The prompt's text: the client's, or decoded from token ids if the prompt had no text or was truncated."""
        text = self.texts[prompt]
        if text is not None and self.params.truncate_prompt_tokens is None:
            return text
        return self.served.require_tokenizer().decode(output.prompt_token_ids,
                                             skip_special_tokens=self.params.skip_special_tokens)

    @property
    def is_scoring(self) -> bool:
        """True for max_tokens 0 (with echo). The engine then generates one token, which the response leaves out."""
        return self.body.max_tokens == 0


def prompts_of(value: Any) -> list[Prompt]:
    """The list of prompts in `prompt`, which may be text, token ids, or a list of either. ApiError 400 otherwise."""
    if isinstance(value, str) or (isinstance(value, list) and value and _is_token_ids(value)):
        return [value]
    shapes = "a string, a list of token ids, or a list of these"
    if not isinstance(value, list) or not value:
        raise bad_field("prompt", value, expected=shapes)
    if len(value) > MAX_PROMPTS:
        raise bad_field("prompt", len(value), expected=f"at most {MAX_PROMPTS} prompts")
    for i, item in enumerate(value):
        if not isinstance(item, str) and not (isinstance(item, list) and _is_token_ids(item)):
            raise bad_field(f"prompt.{i}", item, expected=shapes)
    return value


async def _read_embeds(served: ServedModel, value: Any) -> list[Any]:
    """The prompts in `prompt_embeds`, which is base64 text or a list of such texts. ApiError 400 otherwise."""
    found = []
    for text, place in zip(_listed(value), _places("prompt_embeds", value), strict=True):
        if not isinstance(text, str):
            raise bad_field(place, text, expected="base64 text of a tensor that torch.save wrote")
        try:
            found.append(await served.engine.read_prompt_embeds(text))
        except RequestError as error:
            _, dot, rest = dotted(error.field).partition(".")
            raise ApiError(400, str(error), place + dot + rest) from error
    return found


async def _middle(served: ServedModel, body: CompletionBody, prompt: Prompt, params: SamplingParams
                  ) -> dict[str, Any]:
    """The prompt to fill in what is between `prompt` and `suffix`. Its further end tokens go to `params`."""
    assert body.suffix is not None, "called where there is one"
    served.require_tokenizer()
    if not isinstance(prompt, str):
        raise bad_field("suffix", body.suffix, expected="none with a prompt of token ids", hint="Send the texts.")
    found = await served.engine.fill_in_middle(prompt, body.suffix, add_special_tokens=body.add_special_tokens)
    params.stop_token_ids = list(dict.fromkeys([*(params.stop_token_ids or ()), *found.stop_token_ids]))
    return {"prompt_token_ids": found.token_ids}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        return [value]
    if not 0 < len(value) <= MAX_PROMPTS:
        raise bad_field("prompt_embeds", f"{len(value)} entries", expected=f"1 to {MAX_PROMPTS} prompts")
    return value


def _places(field: str, value: Any) -> list[str]:
    return [f"{field}.{i}" for i in range(len(value))] if isinstance(value, list) else [field] * (value is not None)


def _is_token_ids(value: list[Any]) -> bool:
    return all(type(item) is int for item in value)


async def _prepare(served: ServedModel, request: Request, parsed: Parsed[CompletionBody]) -> _Job:
    body, given = parsed.body, parsed.sampling
    check_stream_options(body.stream, body.stream_options, given.get("prompt_logprobs"))
    if body.max_tokens < (0 if body.echo else 1):
        raise bad_field("max_tokens", body.max_tokens, expected="at least 1, or 0 with echo")
    if body.prompt is None and body.prompt_embeds is None:
        raise ApiError(400, "prompt is missing.", "prompt")
    if body.prompt_embeds is not None and body.suffix:
        raise bad_field("suffix", body.suffix, expected="none with prompt_embeds", hint="Embeddings have no text.")
    if body.prompt_embeds is not None and body.echo:
        raise bad_field("echo", True, expected="false with prompt_embeds", hint="Embeddings have no text.")
    prompts = [] if body.prompt is None else prompts_of(body.prompt)
    num_top = 0 if body.logprobs is None and given.get("logprob_token_ids") else body.logprobs
    params = sampling_params(
        served, given, max_tokens=max(body.max_tokens, 1), logprobs=body.logprobs, stream=body.stream,
        prompt_logprobs=num_top if body.echo and "prompt_logprobs" not in given else None)
    embeds = await _read_embeds(served, body.prompt_embeds)
    texts = [None] * len(embeds) + [prompt if isinstance(prompt, str) else None for prompt in prompts]
    places = ["prompt"] if prompts == [body.prompt] else [f"prompt.{i}" for i in range(len(prompts))]
    inputs: list[dict[str, Any]] = [{"prompt_embeds": rows} for rows in embeds]
    if body.suffix:
        inputs += [await _middle(served, body, prompt, params) for prompt in prompts]
    else:
        must_fit = params.truncate_prompt_tokens is None
        inputs += [{"prompt_token_ids": await served.encode(prompt, place, add_special_tokens=body.add_special_tokens,
                                                            must_fit=must_fit)}
                   for prompt, place in zip(prompts, places, strict=True)]
    if body.echo:
        served.require_tokenizer()
    response_id = "cmpl-" + request_id_of(request, body.request_id)
    generation = Generation(
        served, inputs, params, response_id=response_id, origin=origin_of(request.scope),
        cache_salt=body.cache_salt, priority=priority_of(request, body.priority),
        timeout=timeout_of(request, body.timeout), fields={},
        places=_places("prompt_embeds", body.prompt_embeds) + places)
    as_ids = body.return_tokens_as_token_ids
    names = TokenNames(served.engine.tokenizer,
                       as_ids=served.options.return_tokens_as_token_ids if as_ids is None else as_ids)
    head = {"id": response_id, "object": "text_completion", "created": int(time.time()),
            "model": body.model or served.names[0], **served.head()}
    return _Job(served, body, params, texts, generation, names, head)


def _response(job: _Job, outputs: list[RequestOutput]) -> bytes:
    choices = [_choice(job, prompt, output, answer) for prompt, output in enumerate(outputs)
               for answer in output.outputs]
    return msgspec.json.encode({**job.head, "choices": choices, "usage": usage_of(outputs)})


def _choice(job: _Job, prompt: int, output: RequestOutput, answer: CompletionOutput) -> dict[str, Any]:
    body, echoed, logprobs = job.body, "", None
    token_ids = [] if job.is_scoring else answer.token_ids
    if body.echo:
        echoed = job.echo(prompt, output)
    if job.params.logprobs is not None:
        positions = (answer.logprobs or [])[:len(token_ids)]
        if body.echo:
            token_ids, positions = output.prompt_token_ids + token_ids, (output.prompt_logprobs or []) + positions
        logprobs = CompletionLogprobs(job.names).add(token_ids, positions)
    ids = prompt_fields(job.served, body, output)
    return {"index": prompt * job.params.n + answer.index, "text": echoed + ("" if job.is_scoring else answer.text),
            "logprobs": logprobs, "finish_reason": answer.finish_reason, "stop_reason": answer.stop_reason,
            "prompt_logprobs": prompt_logprobs(output.prompt_logprobs), **ids,
            **token_fields(answer, body.return_token_ids)}


async def _stream(job: _Job) -> AsyncGenerator[bytes, None]:
    counts = StreamUsage(job.body.stream_options, always=job.served.options.enable_force_include_usage)
    clock, echoes, logprobs = TokenClock(job.served.metrics.token_times), {}, {}
    async with aclosing(job.generation.outputs()) as outputs:
        async for prompt, output in outputs:
            counts.count(prompt, output)
            if job.body.echo and prompt not in echoes:
                echoes[prompt] = await job.served.work.answers.run(job.echo, prompt, output)
            for answer in output.outputs:
                index = prompt * job.params.n + answer.index
                counts.count_answer(index, answer.token_ids)
                clock.tick((prompt, answer.index), len(answer.token_ids))
                choice = _delta(job, prompt, output, answer, echoes.get(prompt, ""), logprobs)
                if choice is not None:
                    yield event({**job.head, "choices": [choice], **counts.in_chunk(prompt, index)})
    if counts.at_end:
        yield event({**job.head, "choices": [], "usage": counts.total()})


def _delta(job: _Job, prompt: int, output: RequestOutput, answer: CompletionOutput, echo: str,
           builders: dict[tuple[int, int], CompletionLogprobs]) -> dict[str, Any] | None:
    """The choice of one chunk; None if it has nothing new. The first chunk of an answer includes the echoed prompt."""
    body, is_first = job.body, (prompt, answer.index) not in builders
    builder = builders.setdefault((prompt, answer.index), CompletionLogprobs(job.names))
    text = "" if job.is_scoring else answer.text
    token_ids, positions = ([], []) if job.is_scoring else (answer.token_ids, answer.logprobs or [])
    if is_first and body.echo:
        text = echo + text
        token_ids, positions = output.prompt_token_ids + token_ids, (output.prompt_logprobs or []) + positions
    has_logprobs = job.params.logprobs is not None
    has_news = text or answer.finish_reason or (token_ids and (has_logprobs or body.return_token_ids))
    if not has_news:
        return None
    return {"index": prompt * job.params.n + answer.index, "text": text,
            "logprobs": builder.add(token_ids, positions) if has_logprobs and token_ids else None,
            "finish_reason": answer.finish_reason, "stop_reason": answer.stop_reason,
            **(prompt_fields(job.served, body, output) if is_first else {}),
            **token_fields(answer, body.return_token_ids)}

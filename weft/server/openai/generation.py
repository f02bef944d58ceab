"""Runs one HTTP request on the engine: makes sampling parameters, starts all prompts, merges their outputs.

Completions and chat use it. This module knows no response shape.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from weft.errors import QueueFullError, RequestError
from weft.frontend.defaults import default_fields
from weft.frontend.prompt_limit import HINT, prompt_limit
from weft.frontend.prompt_media import ReadMedia
from weft.outputs import CompletionOutput, RequestOutput
from weft.sampling_params import RequestOutputKind, SamplingParams
from weft.server.cache_domain import cache_domain
from weft.server.deadline import Deadline
from weft.server.errors import ApiError, bad_field, dotted
from weft.server.openai.schemas import GenerationBody
from weft.server.origin import OpenRequest, Origin
from weft.server.served import ServedModel

logger = logging.getLogger(__name__)

MAX_ANSWERS = 16384        # answers of one HTTP request: prompts times n
MAX_COPIED_IDS = 2**24     # token ids in prompts and lists, times n, because the engine copies them for each answer


def sampling_params(served: ServedModel, given: dict[str, Any], *, max_tokens: int | None, logprobs: int | None,
                    prompt_logprobs: int | None, stream: bool) -> SamplingParams:
    """SamplingParams of a request: its fields in `given`, then the defaults of the model's generation config.

    max_tokens: None fills the served. A beam search draws nothing, so it has no defaults of the model.
    RequestError names a wrong field.
    """
    fields = (default_fields(served.engine.config) if given.get("use_beam_search") is not True else {}) | given
    if prompt_logprobs is not None:
        fields["prompt_logprobs"] = prompt_logprobs
    params = SamplingParams(
        **fields, max_tokens=max_tokens, logprobs=logprobs, detokenize=served.engine.tokenizer is not None,
        output_kind=RequestOutputKind.FINAL_ONLY)
    if stream:
        if params.picks_best:
            asked = "use_beam_search" if params.use_beam_search else "best_of above n"
            raise bad_field("stream", True, expected=f"false with {asked}",
                            hint="Which answers are the best is known when all have ended.")
        params.output_kind = RequestOutputKind.DELTA
    return params


class Generation:
    """The engine's work for one HTTP request: one engine request for each prompt.

    prompts: {"prompt_token_ids": ids}, beside "multi_modal_data" that the engine has read, or {"prompt_embeds": rows
        that it has read}.
    places: each prompt's path in the request's body, for errors: "prompt", "prompt.3", "messages".
    timeout: seconds until the work is ended with ApiError 408, counted from the first call of `outputs`.
    fields: {engine's field name: the client's}, for errors, if they differ: {"logprobs": "top_logprobs"}.
    origin: of the HTTP request.
    """

    def __init__(self, served: ServedModel, prompts: Sequence[dict[str, Any]], params: SamplingParams, *,
                 origin: Origin, places: Sequence[str], response_id: str, priority: int, cache_salt: str | None,
                 fields: dict[str, str], timeout: float | None = None) -> None:
        self._count_field = "n" if params.best_of is None else "best_of"
        if len(prompts) * params.num_candidates > MAX_ANSWERS:
            raise bad_field(self._count_field, params.num_candidates,
                            expected=f"prompts times {self._count_field} up to {MAX_ANSWERS}")
        self._request = OpenRequest(response_id, origin)
        self._served, self._params, self._priority, self._fields = served, params, priority, fields
        self._places = places
        domain = cache_domain(served.options, origin, cache_salt)
        self._prompts = [prompt | domain for prompt in prompts]
        self._ids = [f"{response_id}-{i}-{secrets.token_hex(4)}" for i in range(len(prompts))]
        self._deadline = Deadline(served.engine, self._ids, timeout)
        self._check_lengths()
        self._check_copies()

    def _check_lengths(self) -> None:
        """Checks all prompts before the first runs: a started stream can no longer return an error status."""
        limit, cut = prompt_limit(self._served.engine.info), self._params.truncate_prompt_tokens
        for place, prompt in zip(self._places, self._prompts, strict=True):
            num_tokens = _num_tokens(prompt)
            if cut != -1 and min(num_tokens, cut or num_tokens) > limit.longest:
                raise bad_field(place, num_tokens, hint=HINT, expected=limit.expected)

    def _check_copies(self) -> None:
        """Limits the memory that a small body can take in the engine: n multiplies the body's token ids."""
        params, limit = self._params, self._served.engine.info.max_model_len
        listed = sum(len(ids or ()) for ids in (params.stop_token_ids, params.allowed_token_ids, params.logit_bias))
        num_ids = sum(_num_copied(prompt, limit) + listed for prompt in self._prompts)
        media = [data.num_bytes // 8 for prompt in self._prompts
                 if isinstance(data := prompt.get("multi_modal_data"), ReadMedia)]
        num_ids += sum(media) * (params.num_candidates > 1)      # one copy of media is bounded where they are read
        if num_ids * params.num_candidates > MAX_COPIED_IDS:
            raise bad_field(self._count_field, params.num_candidates,
                            expected=f"answers with up to {MAX_COPIED_IDS} token ids between them",
                            hint=f"Prompts, stop_token_ids, allowed_token_ids and logit_bias have {num_ids} for each "
                                 "(8 bytes of a prompt's media count as one).")

    async def outputs(self) -> AsyncGenerator[tuple[int, RequestOutput], None]:
        """Iterates over (prompt index, output) as outputs come. ApiError if the engine refuses or fails at a prompt."""
        self._served.load += 1
        self._served.open |= dict.fromkeys(self._ids, self._request)
        try:
            with self._deadline:
                async with aclosing(merged([self._one(index) for index in range(len(self._prompts))])) as outputs:
                    async for item in outputs:
                        yield item
        except QueueFullError as error:
            raise self._noted(self._served.too_many(error)) from error
        except ApiError as error:
            self._noted(error)
            raise
        finally:
            self._served.load -= 1
            for engine_id in self._ids:
                del self._served.open[engine_id]

    def _noted(self, error: ApiError) -> ApiError:
        """`error`, known to the audit: inside a stream nothing else learns of it."""
        self._served.audit.refused(self._request.origin, error)
        return error

    async def _one(self, index: int) -> AsyncGenerator[RequestOutput, None]:
        try:
            async with aclosing(self._served.engine.generate(
                    self._prompts[index], self._params, self._ids[index], priority=self._priority,
                    client=self._request.origin.share_key)) as outputs:
                async for output in outputs:
                    self._deadline.check()
                    _raise_failure(output)
                    yield output
        except RequestError as error:
            raise ApiError(400, str(error), self._param(index, error.field)) from error

    async def final(self) -> list[RequestOutput]:
        """The finished outputs of all prompts, in order."""
        found: dict[int, RequestOutput] = {}
        async with aclosing(self.outputs()) as outputs:
            async for index, output in outputs:
                found[index] = output
        return [found[index] for index in range(len(self._prompts))]

    def _param(self, index: int, field: str) -> str:
        head, dot, rest = dotted(field).partition(".")
        if head in ("prompt", "prompt_token_ids", "prompt_embeds"):
            return self._places[index] + dot + rest
        return self._fields.get(head, head) + dot + rest


def _num_tokens(prompt: dict[str, Any]) -> int:
    return len(prompt["prompt_token_ids"]) if "prompt_token_ids" in prompt else prompt["prompt_embeds"].shape[0]


def _num_copied(prompt: dict[str, Any], limit: int) -> int:
    """The size of one answer's copy of the prompt, in token ids of 8 bytes."""
    if "prompt_token_ids" in prompt:
        return min(len(prompt["prompt_token_ids"]), limit)
    return len(prompt["prompt_embeds"].data) // 8


def _raise_failure(output: RequestOutput) -> None:
    if any(answer.finish_reason == "error" for answer in output.outputs):
        logger.error("request %s ended by an error: %s", output.request_id, output.error)
        raise ApiError(500, f"The engine failed at this request; the server's log says why ({output.request_id}).")


async def merged(streams: Sequence[AsyncGenerator[Any, None]]) -> AsyncGenerator[tuple[int, Any], None]:
    """Iterates over (stream index, item) of all `streams` as items come. Closes all streams at the end."""
    if len(streams) == 1:
        async with aclosing(streams[0]) as stream:
            async for item in stream:
                yield 0, item
        return
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=len(streams))
    tasks = [asyncio.create_task(_pump(i, stream, queue)) for i, stream in enumerate(streams)]
    try:
        running = len(tasks)
        while running:
            index, item, error = await queue.get()
            if error is not None:
                raise error
            if item is None:
                running -= 1
            else:
                yield index, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(index: int, stream: AsyncGenerator[Any, None], queue: asyncio.Queue[Any]) -> None:
    try:
        async with aclosing(stream):
            async for item in stream:
                await queue.put((index, item, None))
    except Exception as error:
        await queue.put((index, None, error))
    else:
        await queue.put((index, None, None))


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int,
          reasoning_tokens: int | None = None) -> dict[str, Any]:
    """OpenAI's usage object. reasoning_tokens: of the completion; None: unknown."""
    details = {} if reasoning_tokens is None else {"completion_tokens_details": {"reasoning_tokens": reasoning_tokens}}
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": cached_tokens}, **details}


def usage_of(outputs: Sequence[RequestOutput], reasoning_tokens: int | None = None) -> dict[str, Any]:
    """Usage of finished outputs. A prompt counts once, for any number of answers."""
    return usage(sum(output.num_prompt_tokens for output in outputs),
                 sum(len(answer.token_ids) for output in outputs for answer in output.outputs),
                 sum(output.num_cached_tokens or 0 for output in outputs), reasoning_tokens)


def token_fields(answer: CompletionOutput, wanted: bool) -> dict[str, Any]:
    """{"token_ids": ids of the answer} if `wanted`, else {}."""
    return {"token_ids": answer.token_ids} if wanted else {}


def prompt_fields(served: ServedModel, body: GenerationBody, output: RequestOutput) -> dict[str, Any]:
    """The fields about the prompt that the body asks for: prompt_token_ids, prompt_text."""
    fields: dict[str, Any] = {"prompt_token_ids": output.prompt_token_ids} if body.return_token_ids else {}
    if body.return_prompt_text:
        fields["prompt_text"] = served.require_tokenizer().decode(output.prompt_token_ids, skip_special_tokens=False)
    return fields

"""Server-sent events of completions and chat: encoding, the final [DONE], errors inside a stream, usage.

Events are plain dictionaries: building a pydantic object for each token would be slow.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from weft.outputs import RequestOutput
from weft.server.errors import ApiError, as_api_error, bad_field
from weft.server.openai.generation import usage
from weft.server.openai.schemas import StreamOptions

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


def event(data: Any) -> bytes:
    """One server-sent event with `data` as JSON."""
    return b"data: " + _encode(data) + b"\n\n"


async def closed_stream(events: AsyncGenerator[bytes, None], error_event: Callable[[ApiError], bytes],
                        end: bytes = b"") -> AsyncGenerator[bytes, None]:
    """`events`, then `end`. An exception after the first event becomes an error event; an earlier one is raised."""
    has_begun = False
    async with aclosing(events):
        try:
            async for item in events:
                has_begun = True
                yield item
        except Exception as error:
            if not has_begun:
                raise
            yield error_event(as_api_error(error))
    if end:
        yield end


def closed_with_done(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """`events` as OpenAI's streams end: [DONE] behind them, and behind an error."""
    return closed_stream(events, lambda error: event(error.body()), DONE)


class StreamUsage:
    """Counts a stream's tokens, for the usage that the client requested."""

    def __init__(self, options: StreamOptions | None, *, always: bool) -> None:
        self.at_end = always or bool(options and options.include_usage)
        self._in_chunks = bool(options and options.include_usage and options.continuous_usage_stats)
        self._prompts: dict[int, tuple[int, int]] = {}      # prompt index -> (tokens, cached tokens)
        self._generated: dict[int, int] = {}                # choice index -> tokens up to now

    def count(self, prompt: int, output: RequestOutput) -> None:
        """Counts the prompt tokens of prompt number `prompt`, once."""
        if prompt not in self._prompts:
            self._prompts[prompt] = (output.num_prompt_tokens, output.num_cached_tokens or 0)

    def count_answer(self, index: int, token_ids: Sequence[int]) -> None:
        """Counts new tokens of choice number `index`."""
        self._generated[index] = self._generated.get(index, 0) + len(token_ids)

    def in_chunk(self, prompt: int, index: int) -> dict[str, Any]:
        """The `usage` field of a chunk: no field, null, or the answer's usage up to now."""
        if not self.at_end:
            return {}
        if not self._in_chunks:
            return {"usage": None}
        tokens, cached = self._prompts[prompt]
        return {"usage": usage(tokens, self._generated.get(index, 0), cached)}

    def total(self, reasoning_tokens: int | None = None) -> dict[str, Any]:
        """The usage of the whole stream."""
        return usage(sum(tokens for tokens, _ in self._prompts.values()), sum(self._generated.values()),
                     sum(cached for _, cached in self._prompts.values()), reasoning_tokens)


def check_stream_options(stream: bool, options: StreamOptions | None, prompt_logprobs: int | None) -> None:
    """ApiError 400 for stream_options without a stream, and for prompt_logprobs with a stream."""
    if options is not None and not stream:
        raise bad_field("stream_options", options.model_dump(), expected="null when stream is false")
    if stream and prompt_logprobs is not None:
        raise bad_field("prompt_logprobs", prompt_logprobs, expected="null when stream is true")

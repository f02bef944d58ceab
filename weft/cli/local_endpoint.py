"""`LocalEndpoint`: an engine that the command starts itself, for `weft chat` without a server.

The module is slow to import (the engine's frontend), so commands import it only if needed. It runs an event loop step
by step from synchronous code.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from weft.async_llm import AsyncLLM
from weft.cli.endpoint import Usage
from weft.config.engine_args import EngineArgs
from weft.errors import RequestError
from weft.outputs import RequestOutput
from weft.sampling_params import RequestOutputKind

T = TypeVar("T")


class LocalEndpoint:
    """A model in a child process of this command."""

    def __init__(self, args: EngineArgs) -> None:
        self._loop = asyncio.new_event_loop()
        self._llm = AsyncLLM.from_engine_args(args)
        self._ids = itertools.count()
        self.name = self._llm.config.served_model_names[0]
        self.usage = Usage()

    @property
    def has_chat(self) -> bool:
        """True if the model has a chat template."""
        return self._llm.renderer is not None and self._llm.renderer.has_template

    def chat(self, messages: list[dict[str, Any]], settings: Mapping[str, Any]) -> Iterator[str]:
        """The pieces of the answer to the last message. RequestError without a chat template."""
        if self._llm.renderer is None:
            raise RequestError("messages", messages, expected="a model with a tokenizer and a chat template")
        return self._answer(self._llm.renderer.render(messages), settings, add_special_tokens=False)

    def complete(self, prompt: str, settings: Mapping[str, Any]) -> Iterator[str]:
        """The pieces of the text that follows the prompt."""
        return self._answer(prompt, settings, add_special_tokens=True)

    def close(self) -> None:
        """End the engine."""
        self._llm.shutdown()
        self._loop.close()

    def _answer(self, prompt: str | list[int], settings: Mapping[str, Any], *,
                add_special_tokens: bool) -> Iterator[str]:
        self.usage = Usage()
        token_ids = self._wait(self._llm.encode_prompt(prompt, add_special_tokens=add_special_tokens))
        self.usage.prompt_tokens = len(token_ids)
        fields = {"max_tokens": None, "output_kind": RequestOutputKind.DELTA} | dict(settings)
        params = msgspec.structs.replace(self._llm.get_default_sampling_params(), **fields)
        outputs = self._llm.generate({"prompt_token_ids": token_ids}, params, f"cli-{next(self._ids)}")
        try:
            yield from self._pieces(outputs)
        finally:
            self._wait(outputs.aclose())      # aborts the request if the caller stopped iterating early

    def _pieces(self, outputs: AsyncGenerator[RequestOutput, None]) -> Iterator[str]:
        while (output := self._wait(anext(outputs, None))) is not None:
            if output.error is not None:
                raise RequestError("prompt", output.request_id, expected="a request that the engine can answer",
                                   hint=output.error)
            self.usage.completion_tokens += len(output.outputs[0].token_ids)
            self.usage.note_text()
            yield output.outputs[0].text

    def _wait(self, awaitable: Awaitable[T]) -> T:
        task = self._loop.create_task(_as_coroutine(awaitable))
        try:
            return self._loop.run_until_complete(task)
        except KeyboardInterrupt:
            # The task must end before its async generator can be used or closed.
            task.cancel()
            self._loop.run_until_complete(asyncio.wait([task]))
            raise


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable

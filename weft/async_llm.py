"""`AsyncLLM`: a model in a supervised child process, for asyncio programs; the HTTP server is built on it.

Any number of requests at once, each an async iterator. One event loop at a time uses it: the one that first asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig, TokenizerConfig
from weft.config.machine import Machine
from weft.engine.process.client import CORE
from weft.engine.process.messages import EngineInfo, EngineStats, StepResult, WireTensor
from weft.engine.process.process_client import Event, ProcessClient
from weft.engine.process.wire import Rejected, from_wire
from weft.errors import EngineDeadError, RequestError
from weft.frontend.defaults import default_sampling_params
from weft.frontend.inputs import InputProcessor, Prepared
from weft.frontend.llm_engine import refuse_unbuilt, with_max_model_len
from weft.frontend.outputs import OutputProcessor, RequestState, Update, Updates
from weft.frontend.pooling import pooling_params as params_for
from weft.frontend.prompts import parse_prompt
from weft.frontend.streams import OutputStream
from weft.outputs import PoolingRequestOutput, RequestOutput
from weft.pooling_params import PoolingParams
from weft.resolve.engine_config import resolve_engine_config
from weft.sampling_params import SamplingParams, check_text
from weft.text.chat import Renderer, make_renderer
from weft.text.tokenizer import Tokenizer, load_tokenizer

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Observer(Protocol):
    """Is told, in the event loop, what happens."""

    def on_step(self, stats: EngineStats) -> None:
        """After each engine step."""

    def on_finished(self, output: RequestOutput, params: SamplingParams) -> None:
        """When a generating request has ended, however; `output` holds all of it, whatever the output kind."""


class AsyncLLM:
    """A language model that serves many requests at once.

    Attributes:
        config: everything about the engine, resolved.
        tokenizer, renderer: None with skip_tokenizer_init.
    """

    def __init__(self, config: EngineConfig, core_factory: str = CORE) -> None:
        """Starts the child process and waits until it is ready: call it in a thread from async code."""
        self._streams: dict[str, OutputStream] = {}      # one for each request that somebody iterates
        self._observers: list[Observer] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        # One thread: a fast tokenizer must not be used by two at once.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="weft-tokenizer")
        loading = self._pool.submit(_load_text, config.tokenizer)      # while the child loads the weights
        self._client = ProcessClient(config, self._deliver, core_factory)
        try:
            self.tokenizer, self.renderer = loading.result()
        except BaseException:
            self._client.close()
            raise
        self.config = with_max_model_len(config, self.info.max_model_len)
        self._inputs = InputProcessor(config, self.tokenizer, self.info)
        self._outputs = OutputProcessor(self.tokenizer)

    @classmethod
    def from_engine_args(cls, args: EngineArgs) -> AsyncLLM:
        """An engine from the options a user set; blocks until it is ready.

        Raises ConfigError, CheckpointError or MemoryPlanError when it cannot start.
        """
        return cls(resolve_engine_config(args, Machine.detect()))

    @property
    def info(self) -> EngineInfo:
        """What the engine found out while it started."""
        return self._client.info

    @property
    def stats(self) -> EngineStats:
        """After the last step; counters since the first start."""
        return self._client.stats

    def add_observer(self, observer: Observer) -> None:
        """Tell `observer` of steps and finished requests."""
        self._observers.append(observer)

    async def generate(self, prompt: Any, sampling_params: SamplingParams, request_id: str, *, priority: int = 0,
                       lora_request: None = None) -> AsyncGenerator[RequestOutput, None]:
        """The request's outputs, in its output kind, until it has finished. Closing the iterator aborts the request.

        Raises RequestError when the request is wrong, QueueFullError when too many wait, EngineDeadError when the
        engine has ended for good. A request that fails in the engine ends with finish_reason "error".
        """
        refuse_unbuilt(lora_request=lora_request)
        async with aclosing(self._outputs_of(prompt, sampling_params, request_id, priority)) as outputs:
            async for output in outputs:
                yield output

    async def encode(self, prompt: Any, pooling_params: PoolingParams | None, request_id: str, *, priority: int = 0,
                     lora_request: None = None) -> AsyncGenerator[PoolingRequestOutput, None]:
        """What a pooling model makes of the prompt: one output, its `outputs.data` as `LLM.encode`'s.

        Without a task in the parameters "token_embed". Errors and closing as `generate`'s; a request that fails in the
        engine has outputs None and an `error`.
        """
        refuse_unbuilt(lora_request=lora_request)
        params = params_for(pooling_params, None)
        async with aclosing(self._outputs_of(prompt, params, request_id, priority)) as outputs:
            async for output in outputs:
                yield output

    async def _outputs_of(self, prompt: Any, params: SamplingParams | PoolingParams, request_id: str,
                          priority: int) -> AsyncGenerator[Any, None]:
        self._client.check_health()
        self._bind_loop()
        if check_text("request_id", request_id) in self._streams:
            raise RequestError("request_id", request_id, expected="an id that no open request has")
        stream = self._streams[request_id] = OutputStream(
            params.output_kind if isinstance(params, SamplingParams) else None)
        try:
            prepared = await self._in_thread(
                lambda: self._inputs.prepare(request_id, prompt, params, priority=priority))
            self._submit(prepared)
            if stream.is_aborted:      # while it was being prepared
                self._end([request_id])
            is_finished = False
            while not is_finished:
                output = await stream.get()
                is_finished = output.finished
                yield output
        finally:
            self._end([request_id])      # nothing to do when it has finished
            del self._streams[request_id]

    async def abort(self, request_id: str) -> None:
        """End a request: its iterator gives a last output with finish_reason "abort". An unknown id is passed over."""
        if request_id in self._streams:
            self._streams[request_id].is_aborted = True
        self._end([request_id])

    async def check_health(self) -> None:
        """EngineDeadError when the engine has ended for good."""
        self._client.check_health()

    async def encode_prompt(self, prompt: Any, *, add_special_tokens: bool = True,
                            truncate_prompt_tokens: int | None = None) -> list[int]:
        """A prompt's token ids, tokenized off the event loop and checked against the vocabulary, not the context."""
        self._client.check_health()
        params = SamplingParams(truncate_prompt_tokens=truncate_prompt_tokens, max_tokens=None)

        def encode() -> list[int]:
            token_ids = self._inputs.encode(parse_prompt(prompt), add_special_tokens=add_special_tokens)
            return self._inputs.truncate(token_ids, params)

        return await self._in_thread(encode)

    async def read_prompt_embeds(self, embeds: Any) -> WireTensor:
        """Embeddings as `{"prompt_embeds": …}` takes them, read and checked off the event loop, for `generate`."""
        self._client.check_health()
        return await self._in_thread(lambda: self._inputs.read_prompt_embeds(embeds))

    def get_tokenizer(self) -> Any:
        """The transformers tokenizer, or what stands for one; None with skip_tokenizer_init."""
        return self.tokenizer and self.tokenizer.hf

    def get_default_sampling_params(self) -> SamplingParams:
        """vLLM's defaults under the model's generation config. A new object each time."""
        return default_sampling_params(self.config)

    async def reset_prefix_cache(self) -> bool:
        """Forget all cached prefixes; False when running requests still use them."""
        return await asyncio.wrap_future(self._client.call("reset_prefix_cache"))

    async def collective_rpc(self, method: str, timeout: float | None = None, args: Sequence[Any] = (),
                             kwargs: Mapping[str, Any] | None = None) -> list[Any]:
        """Call a method of each worker by name, with plain data; a list of results. TimeoutError after `timeout` s."""
        future = self._client.call("collective_rpc", method, args=list(args), kwargs=dict(kwargs or {}))
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout)

    def shutdown(self) -> None:
        """End the engine. Open requests end with EngineDeadError. May be called twice, and from any thread."""
        self._client.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._deliver(EngineDeadError("The engine is closed."))

    def _bind_loop(self) -> None:
        """Events go to the running loop; another loop may take over when no request is open."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop and self._loop is not None and self._streams:
            raise RuntimeError("AsyncLLM has open requests in another event loop; use one loop for all.")
        self._loop = loop

    async def _in_thread(self, func: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, func)

    def _submit(self, prepared: Prepared) -> None:
        self._outputs.add(prepared)
        try:
            for child in prepared.children:
                self._client.add(child)
        except BaseException:
            self._end([prepared.request_id])
            raise

    def _deliver(self, event: Event) -> None:
        """From the client's thread to the event loop."""
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._handle, event)
        except RuntimeError:      # the loop was closed: nobody waits for this any more
            logger.debug("an engine event came after the event loop was closed")

    def _handle(self, event: Event) -> None:
        if isinstance(event, StepResult):
            self._apply(self._outputs.process(event.outputs))
            self._tell(lambda observer: observer.on_step(event.stats))
        elif isinstance(event, Rejected):
            state = self._outputs.state_of(event.request_id)
            if state is not None:
                self._fail(state.request_id, from_wire(event.error))
        else:
            for request_id in list(self._streams):
                self._fail(request_id, event)

    def _fail(self, request_id: str, error: Exception) -> None:
        """Raise in the request's reader."""
        stream = self._streams.get(request_id)
        if stream is not None:
            stream.fail(error)
        self._end([request_id], reason="error", error=str(error))

    def _end(self, request_ids: list[str], reason: str = "abort", error: str | None = None) -> None:
        self._apply(self._outputs.end(request_ids, reason, error))

    def _apply(self, updates: Updates) -> None:
        if updates.abort_ids:
            self._client.abort(updates.abort_ids)
        for update in updates.updates:
            self._pass_on(update)

    def _pass_on(self, update: Update) -> None:
        state, stream = update.state, self._streams.get(update.state.request_id)
        if update.output is not None and stream is not None:
            stream.put(update.output)
        if isinstance(state, RequestState) and state.is_finished and self._observers:
            self._tell(lambda observer: observer.on_finished(state.snapshot(), state.params))

    def _tell(self, call: Callable[[Observer], None]) -> None:
        """An observer that fails must not end the requests it observes."""
        for observer in self._observers:
            try:
                call(observer)
            except Exception:
                logger.exception("an observer failed")


AsyncLLMEngine = AsyncLLM


def _load_text(config: TokenizerConfig) -> tuple[Tokenizer | None, Renderer | None]:
    """All of the tokenizer, also what it makes when first used, which would hold up the event loop."""
    if config.path is None:
        return None, None
    tokenizer = load_tokenizer(config)
    _ = tokenizer.vocab_size
    return tokenizer, make_renderer(tokenizer, config.chat_template)

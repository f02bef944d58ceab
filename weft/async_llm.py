"""`AsyncLLM`: a model in a supervised child process, for asyncio programs. The HTTP server is built on it.

It serves any number of requests at once, each as an async iterator, for one event loop at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from typing import Any, TypeVar

from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.engine.process.messages import EngineInfo, EngineStats, WireTensor
from weft.engine.process.process_client import ProcessClient
from weft.engine.process.spare import Spare, Spares
from weft.errors import EngineDeadError, RequestError
from weft.extend.named_object import name_of_function
from weft.frontend.defaults import default_sampling_params
from weft.frontend.early_checks import check_before_load
from weft.frontend.inputs import InputProcessor
from weft.frontend.lanes import LONG_CHARS, Lanes, num_chars
from weft.frontend.llm_engine import refuse_unbuilt, with_max_model_len
from weft.frontend.observers import Observer
from weft.frontend.open_requests import OpenRequests
from weft.frontend.own_thread import in_own_thread
from weft.frontend.pooling_inputs import pooling_params as params_for
from weft.frontend.prompts import parse_prompt
from weft.frontend.speech_inputs import SpeechPiece
from weft.frontend.tokenization import Tokenization
from weft.media.encoded import EncodedImage, ImageFile
from weft.media.encoded_audio import EncodedAudio
from weft.outputs import PoolingRequestOutput, RequestOutput
from weft.pooling_params import PoolingParams
from weft.resolve.engine_config import resolve_engine_config
from weft.sampling_params import SamplingParams
from weft.text.chat import load_text
from weft.text.fill_in_middle import FillInMiddle, MiddlePrompt

T = TypeVar("T")
_PAUSED, _ASLEEP = "pause", ("weights", "kv_cache")      # reasons for which the gate is closed (vLLM's tags of sleep)


class AsyncLLM:
    """A language model that serves many requests at once.

    Attributes:
        config: the resolved engine config.
        tokenizer, renderer: None with skip_tokenizer_init.
        lanes: the threads for work on prompts.
    """

    def __init__(self, config: EngineConfig, spare: Spare | None = None, *, spares: Spares | None = None) -> None:
        """Starts the child process and blocks until it is ready. Async code should call this in a thread.

        spare: a process that imports already and becomes the child.
        spares: where a process comes from when the engine has died; the caller closes them.
        """
        check_before_load(config)
        self.lanes, self._requests = Lanes(), OpenRequests()
        with ExitStack() as undo:      # of an engine that does not come to be
            undo.callback(self.lanes.close)
            loading = self.lanes.submit(lambda: load_text(config.tokenizer))      # while the child loads the weights
            self._client = ProcessClient(config, self._requests.deliver, spare, spares=spares)
            undo.callback(self._client.close)
            self.tokenizer, self.renderer = loading.result()
            self.config = with_max_model_len(config, self.info.max_model_len)
            self._inputs = InputProcessor(config, self.tokenizer, self.info)
            self._middle = self.tokenizer and FillInMiddle(self.tokenizer)
            self._requests.connect(self._client, self.tokenizer, self._inputs.vocabulary)
            undo.pop_all()

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs, start_engine_loop: bool = True, usage_context: Any = None,
                         stat_loggers: None = None) -> AsyncLLM:
        """An engine from the user's options. Blocks until it is ready, or raises ConfigError, CheckpointError or
        MemoryPlanError. start_engine_loop, usage_context: accepted for vLLM's sake, without effect.
        """
        refuse_unbuilt(stat_loggers=stat_loggers)
        return cls(resolve_engine_config(engine_args, Machine.detect()))

    @property
    def info(self) -> EngineInfo:
        """The started engine's properties."""
        return self._client.info

    @property
    def stats(self) -> EngineStats:
        """The engine's statistics after the last step. Counters count from the first start, across restarts."""
        return self._client.stats

    @property
    def errored(self) -> bool:
        """True once the engine has ended for good."""
        return self._client.dead_error is not None

    @property
    def dead_error(self) -> EngineDeadError:
        """Why the engine has ended for good, if it has."""
        return self._client.dead_error or EngineDeadError("The engine runs.")

    def add_observer(self, observer: Observer) -> None:
        """Call `observer` after steps and for finished requests."""
        self._requests.observers.add(observer)

    async def generate(self, prompt: Any, sampling_params: SamplingParams, request_id: str, *, priority: int = 0,
                       lora_request: None = None, client: str | None = None) -> AsyncGenerator[RequestOutput, None]:
        """Iterates over the request's outputs, in its output kind, until it has finished.

        client: who asks: requests of different clients start in turn, however many each has. None: in order of arrival.
        Closing the iterator aborts the request. Raises RequestError if the request is wrong, QueueFullError if too many
        requests wait, EngineDeadError if the engine has ended for good. A request that fails in the engine ends with
        finish_reason "error".
        """
        refuse_unbuilt(lora_request=lora_request)
        async with aclosing(self._outputs_of(prompt, sampling_params, request_id, priority, client)) as outputs:
            async for output in outputs:
                yield output

    async def encode(self, prompt: Any, pooling_params: PoolingParams | None, request_id: str, *, priority: int = 0,
                     lora_request: None = None, tokenization_kwargs: Mapping[str, Any] | None = None,
                     client: str | None = None) -> AsyncGenerator[PoolingRequestOutput, None]:
        """Iterates over the one output of a pooling model; `outputs.data` as in `LLM.encode`.

        The default task is that of `LLM.encode`. tokenization_kwargs: fields of `Tokenization`. client, errors and
        closing as in `generate`; a request that fails in the engine has outputs None and an `error`.
        """
        refuse_unbuilt(lora_request=lora_request)
        params, how = params_for(pooling_params, None, self.info.tasks), Tokenization.read(tokenization_kwargs)
        async with aclosing(self._outputs_of(prompt, params, request_id, priority, client, how)) as outputs:
            async for output in outputs:
                yield output

    async def _outputs_of(self, prompt: Any, params: SamplingParams | PoolingParams, request_id: str, priority: int,
                          client: str | None, tokenization: Tokenization | None = None) -> AsyncGenerator[Any, None]:
        self._client.check_health()
        self._requests.bind_loop()
        stream = self._requests.open(request_id, params.output_kind if isinstance(params, SamplingParams) else None)
        try:
            prepared = await self.lanes.run(
                lambda: self._inputs.prepare(request_id, prompt, params, priority=priority, client=client,
                                             tokenization=tokenization), num_chars(prompt))
            self._requests.submit(prepared)
            is_finished = False
            while not is_finished:
                output = await stream.get()
                is_finished = output.finished
                yield output
        finally:
            self._requests.close(request_id)

    async def abort(self, request_id: str) -> None:
        """End a request: its iterator gives a last output with finish_reason "abort". An unknown id is ignored."""
        self._requests.abort(request_id)

    async def check_health(self) -> None:
        """EngineDeadError if the engine has ended for good."""
        self._client.check_health()

    def stalled(self, limit_s: float) -> str | None:
        """What stands still for longer than `limit_s` seconds, engine or reading of prompts, as a sentence; or None."""
        return self._client.complaint(limit_s) or self.lanes.complaint(limit_s)

    async def encode_prompt(self, prompt: Any, *, add_special_tokens: bool = True,
                            truncate_prompt_tokens: int | None = None, must_fit: bool = False) -> list[int]:
        """A prompt's token ids, tokenized in a thread. Checked against the vocabulary, not against the context length.

        must_fit: a text that is far longer than the context is refused by its beginning (RequestError).
        """
        self._client.check_health()
        params = SamplingParams(truncate_prompt_tokens=truncate_prompt_tokens, max_tokens=None)

        def encode() -> list[int]:
            token_ids = self._inputs.encode(parse_prompt(prompt), add_special_tokens=add_special_tokens,
                                            limit=self._inputs.limit if must_fit else None)
            return self._inputs.truncate(token_ids, params)

        return await self.lanes.run(encode, num_chars(prompt))

    async def read_prompt_embeds(self, embeds: Any) -> WireTensor:
        """Reads and checks embeddings in a thread. `generate` takes the result as `{"prompt_embeds": result}`."""
        self._client.check_health()
        return await self.lanes.run(lambda: self._inputs.read_prompt_embeds(embeds), LONG_CHARS + 1)

    async def fetch_media(self, items: Sequence[ImageFile | EncodedAudio]) -> list[EncodedImage | EncodedAudio]:
        """A prompt's files of one kind, those with a URL fetched in threads. RequestError names the one that cannot be
        had, or says that the model takes no such images; QueueFullError if too many wait.
        """
        futures = self._inputs.media.start_fetching(items)
        try:
            return await asyncio.gather(*map(asyncio.wrap_future, futures))
        finally:
            for future in futures:      # beside one that failed
                future.cancel()

    async def read_media_prompt(self, prompt: Any, *, add_special_tokens: bool = True, num_chars: int = 0
                                ) -> dict[str, Any]:
        """Decodes and processes the media of a prompt in a thread. `generate` takes the result.

        prompt: with `multi_modal_data`. num_chars: of the media as base64, for the limit of what may wait.
        """
        self._client.check_health()
        return await self.lanes.run_media(
            lambda: self._inputs.media.read_prompt(prompt, add_special_tokens=add_special_tokens), num_chars)

    async def read_speech(self, file: EncodedAudio) -> list[SpeechPiece]:
        """A file of audio, decoded in a thread, in pieces that a model that hears takes as clips of prompts."""
        self._client.check_health()
        return await self.lanes.run_media(lambda: self._inputs.speech.pieces(file), len(file.data))

    async def fill_in_middle(self, before: str, after: str, *, add_special_tokens: bool = True) -> MiddlePrompt:
        """The prompt whose answer is the text between two others. RequestError if the tokenizer has no tokens for it.
        """
        middle = self._middle
        if middle is None:
            raise RequestError("suffix", after, expected="none, as the engine has no tokenizer")
        return await self.lanes.run(lambda: middle.prompt(before, after, add_special_tokens=add_special_tokens),
                                    num_chars([before, after]))

    def get_tokenizer(self) -> Any:
        """The transformers tokenizer, or weft's replacement for it; None with skip_tokenizer_init."""
        return self.tokenizer and self.tokenizer.hf

    def get_default_sampling_params(self) -> SamplingParams:
        """vLLM's defaults, overridden by the model's generation config. A new object each time."""
        return default_sampling_params(self.config)

    async def reset_prefix_cache(self) -> bool:
        """Forget all cached prefixes. Returns False, with nothing changed, while requests run."""
        return await asyncio.wrap_future(self._client.call("reset_prefix_cache"))

    async def reset_mm_cache(self) -> None:
        """Forget the encoder's rows of all media that no running request needs."""
        await asyncio.wrap_future(self._client.call("reset_mm_cache"))

    async def pause_generation(self, *, mode: str = "abort", clear_cache: bool = True) -> None:
        """Hold all requests that come, until `resume_generation`; they are accepted and checked.

        mode: what happens to requests that run: "abort" ends them, "wait" returns when they have ended.
        clear_cache: forget all cached prefixes. RequestError for another mode; "keep" (freeze them) is not built.
        """
        await self._requests.close_gate((_PAUSED,), mode, self.reset_prefix_cache if clear_cache else None)

    async def resume_generation(self) -> None:
        """Let requests run again, those that were held first."""
        self._requests.open_gate(_PAUSED)

    async def is_paused(self) -> bool:
        """True between `pause_generation` and `resume_generation`."""
        return _PAUSED in self._requests.gate.closed_by

    async def sleep(self, level: int = 1, mode: str = "abort") -> None:
        """Forget all cached prefixes and hold requests, until `wake_up`.

        level: 1, the weights stay; 0, the prefixes too; 2, the engine's process ends, which gives all its memory back,
            and `wake_up` loads the weights again. mode: as of `pause_generation`.
        """
        if level not in (0, 1, 2):
            raise RequestError("level", level, expected="0, 1 or 2")
        rest = None if self._client.is_resting else lambda: in_own_thread(self._client.rest)
        await self._requests.close_gate(_ASLEEP, mode, (None, self.reset_prefix_cache, rest)[level])

    async def wake_up(self, tags: Sequence[str] | None = None) -> None:
        """Undo `sleep`. tags: "weights", "kv_cache"; requests run when both were named; None names both."""
        for tag in tags or ():
            if tag not in _ASLEEP:
                raise RequestError("tags", tag, expected=" or ".join(_ASLEEP))
        if "weights" in (tags or _ASLEEP):
            await in_own_thread(self._client.wake)
        self._requests.open_gate(*(tags or _ASLEEP))

    @property
    def sleep_state(self) -> str:
        """awake, asleep, or discard_all: asleep without the weights."""
        if self._client.is_resting:
            return "discard_all"
        return "asleep" if self._requests.gate.closed_by & {*_ASLEEP} else "awake"

    async def is_sleeping(self) -> bool:
        """True between `sleep` and `wake_up`."""
        return self.sleep_state != "awake"

    @property
    def is_held(self) -> bool:
        """True while a pause or a sleep holds requests."""
        return bool(self._requests.gate.closed_by)

    async def apply_model(self, func: Callable[[Any], Any]) -> list[Any]:
        """Call `func(model)` in the engine's process. Returns a list with one result, plain data, for each worker.

        ConfigError for a function that another process cannot import, such as a lambda.
        """
        return await self.collective_rpc("apply_model", args=(name_of_function(func, field="func"),))

    async def collective_rpc(self, method: str | Callable[..., Any], timeout: float | None = None,
                             args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> list[Any]:
        """Call a method of each worker by name, with plain data. Returns one result for each worker.

        method: a name; or a function that another process can import, called as method(worker, ...): ConfigError for
            any other. timeout: seconds until TimeoutError; None: no limit.
        """
        name = method if isinstance(method, str) else name_of_function(method, field="method")
        future = self._client.call("collective_rpc", name, args=list(args), kwargs=dict(kwargs or {}))
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout)

    def shutdown(self) -> None:
        """End the engine. Open requests raise EngineDeadError. Callable from any thread, also a second time."""
        self._client.close()
        self.lanes.close()
        self._inputs.media.close()
        self._requests.deliver(EngineDeadError("The engine is closed."))

    def kill(self) -> None:
        """End the engine in the middle of its step: open requests raise EngineDeadError. `shutdown` must follow."""
        self._client.kill()
        self._requests.deliver(self.dead_error)


AsyncLLMEngine = AsyncLLM

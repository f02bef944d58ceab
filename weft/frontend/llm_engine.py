"""`LLMEngine`: an in-process engine with text input and output, driven step by step. `LLM` is built on it.

It joins inputs (`inputs.py`), the engine (`engine/process/client.py`) and outputs (`outputs.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.engine.process.client import InProcessClient
from weft.engine.process.messages import EngineRequest
from weft.engine.process.spare import CORE
from weft.errors import EngineDeadError, NotBuiltError, WeftError
from weft.frontend.early_checks import check_before_load
from weft.frontend.inputs import InputProcessor, Prepared
from weft.frontend.metrics import EngineMetrics
from weft.frontend.observers import Observers
from weft.frontend.outputs import OutputProcessor, Updates
from weft.outputs import PoolingRequestOutput, RequestOutput
from weft.pooling_params import PoolingParams
from weft.resolve.engine_config import resolve_engine_config
from weft.sampling_params import SamplingParams
from weft.text.tokenizer import Tokenizer, load_tokenizer


class LLMEngine:
    """Takes requests and returns outputs, one engine step at a time. Only one thread may use it.

    config: the resolved config, with `max_model_len` from the memory plan. tokenizer: None with skip_tokenizer_init.
    metrics: its numbers, for Prometheus.
    """

    def __init__(self, config: EngineConfig, core_factory: str = CORE) -> None:
        check_before_load(config)
        self.tokenizer: Tokenizer | None = None if config.tokenizer.path is None else load_tokenizer(config.tokenizer)
        self.client = InProcessClient(config, core_factory)
        self.config = with_max_model_len(config, self.client.info.max_model_len)
        self.inputs = InputProcessor(config, self.tokenizer, self.client.info)
        self._outputs, self._observers = OutputProcessor(self.tokenizer), Observers()
        self.metrics = EngineMetrics(config.served_model_names[0], self.config.model.max_model_len,
                                     lambda: self.client.stats, lambda: "awake")
        self.metrics.engine_started(self.config, self.client.info)
        self._observers.add(self.metrics)

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs, usage_context: Any = None,
                         stat_loggers: None = None) -> LLMEngine:
        """An engine from the user's options. usage_context: accepted for vLLM's sake; weft reports to nobody."""
        refuse_unbuilt(stat_loggers=stat_loggers)
        return cls(resolve_engine_config(engine_args, Machine.detect()))

    def add_request(self, request_id: str, prompt: Any, params: SamplingParams | PoolingParams,
                    arrival_time: float | None = None, lora_request: None = None, *, priority: int = 0) -> None:
        """Queue a request. RequestError if it is wrong, QueueFullError if too many requests wait."""
        refuse_unbuilt(lora_request=lora_request)
        self.submit(self.inputs.prepare(request_id, prompt, params, priority=priority, arrival_time=arrival_time))

    def submit(self, prepared: Prepared) -> None:
        """Queue a request that `inputs` has prepared: all of its sequences or, after an error, none."""
        self._outputs.add(prepared)
        try:
            if (vocabulary := self.inputs.vocabulary.take()) is not None:
                self.client.set_vocabulary(vocabulary)
            for child in prepared.children:
                self.client.add(child)
        except BaseException:
            self.abort_request(prepared.request_id)
            raise

    def step(self) -> list[RequestOutput | PoolingRequestOutput]:
        """Run one engine step. Returns the new output of each request, in the request's output kind."""
        if self._outputs.request_ids:
            self._require_work()
        result = self.client.step()
        outputs = self._deliver(self._outputs.process(result.outputs))
        self._observers.tell(lambda observer: observer.on_step(result.stats))
        return outputs

    def abort_request(self, request_ids: str | Iterable[str]) -> list[RequestOutput | PoolingRequestOutput]:
        """End open requests and return their last outputs, with finish_reason "abort". Unknown ids are ignored."""
        ids = [request_ids] if isinstance(request_ids, str) else list(request_ids)
        return self._deliver(self._outputs.end(ids))

    def has_unfinished_requests(self) -> bool:
        """True while `step` has outputs to return."""
        return bool(self._outputs.request_ids)

    def _deliver(self, updates: Updates) -> list[RequestOutput | PoolingRequestOutput]:
        if updates.abort_ids:
            self.client.abort(updates.abort_ids)
        outputs = [update.output for update in updates.updates if update.output is not None]
        for update in updates.updates:
            if update.state.is_finished:
                self._observers.tell_end(update.state)
        for request in updates.requests:
            outputs += self._go_on(request)
        return outputs

    def _go_on(self, request: EngineRequest) -> list[RequestOutput | PoolingRequestOutput]:
        """Queue a next sequence of an open request. If the engine refuses it, the request ends with its last output."""
        state = self._outputs.state_of(request.request_id)
        if state is None:      # it has ended since
            return []
        try:
            self.client.add(request)
        except WeftError as error:
            return self._deliver(self._outputs.end([state.request_id], "error", str(error)))
        return []

    def _require_work(self) -> None:
        if not self.client.has_unfinished:
            raise EngineDeadError("The engine has nothing to do, but a request has not finished.")


def with_max_model_len(config: EngineConfig, max_model_len: int) -> EngineConfig:
    """`config` with the context length of the memory plan, in tokens."""
    return replace(config, model=replace(config.model, max_model_len=max_model_len))


def refuse_unbuilt(**options: Any) -> None:
    """NotBuiltError if an argument of vLLM that weft has no code for is not None."""
    for name, value in options.items():
        if value is not None:
            raise NotBuiltError(name, value, expected="None", hint="weft has no code for it yet.")

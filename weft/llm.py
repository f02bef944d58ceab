"""`LLM`: offline inference: a model in the calling process, for Python programs that have all their prompts at hand.

The methods and arguments are vLLM's. `close` (or leaving the `with` block) gives the memory back.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.engine.process.messages import EngineStats
from weft.engine.process.spare import CORE
from weft.errors import NotBuiltError, QueueFullError, RequestError
from weft.frontend.beams import as_beams, beam_request
from weft.frontend.chat_media import IN_PYTHON, take_media
from weft.frontend.defaults import default_sampling_params
from weft.frontend.inputs import Prepared, PreparedRequest
from weft.frontend.llm_engine import LLMEngine, refuse_unbuilt
from weft.frontend.metrics_list import Metric, metrics_list
from weft.frontend.pooling_calls import PoolingCalls
from weft.frontend.pooling_inputs import pooling_params
from weft.frontend.progress import Progress
from weft.frontend.prompts import split_prompts
from weft.frontend.reasoning import behind_reasoning
from weft.frontend.tokenization import Tokenization
from weft.outputs import BeamSearchOutput, PoolingOutput, PoolingRequestOutput, RequestOutput
from weft.resolve.engine_config import resolve_engine_config
from weft.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams
from weft.text.chat import make_renderer

_TOKENIZATION_OPTIONS = ("add_special_tokens", "truncate_prompt_tokens")


class LLM(PoolingCalls):
    """A language model.

    Attributes:
        config: the resolved engine config.
    """

    def __init__(self, model: str | None = None, **options: Any) -> None:
        """model: a directory, GGUF file or hub id; None: the model inside the package. options: fields of `EngineArgs`.

        Raises TypeError for an unknown option; ConfigError, CheckpointError or MemoryPlanError if the engine cannot
        start.
        """
        self._start(resolve_engine_config(EngineArgs(model=model, **options), Machine.detect()))

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs) -> LLM:
        """An LLM from checked options."""
        return cls.from_config(resolve_engine_config(engine_args, Machine.detect()))

    @classmethod
    def from_config(cls, config: EngineConfig, core_factory: str = CORE) -> LLM:
        """An LLM from a resolved config. core_factory: `module:function` of another engine core, for tests."""
        llm = cls.__new__(cls)
        llm._start(config, core_factory)
        return llm

    def _start(self, config: EngineConfig, core_factory: str = CORE) -> None:
        self._engine = LLMEngine(config, core_factory)
        self.config = self._engine.config
        tokenizer = self._engine.tokenizer
        self._renderer = None if tokenizer is None else make_renderer(tokenizer, config.tokenizer.chat_template)
        self._ids = itertools.count()
        self._enqueued: list[str] = []
        self._finished: dict[str, Any] = {}      # outputs of `enqueue`d requests, until they are fetched

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the model and its cache. A second call has no effect; other methods then raise EngineDeadError."""
        self._engine.client.close()
        self._engine.inputs.media.close()

    # Generating

    def generate(self, prompts: Any = None, sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *,
                 use_tqdm: bool | Callable[..., Any] = True, lora_request: None = None,
                 priority: int | Sequence[int] | None = None, tokenization_kwargs: Mapping[str, Any] | None = None,
                 mm_processor_kwargs: None = None, prompt_token_ids: Any = None) -> list[RequestOutput]:
        """The answers (completions) to one prompt or a list of prompts, in order.

        prompts: text, token ids, or dictionaries (TextPrompt, TokensPrompt, EmbedsPrompt).
        sampling_params: one for all prompts or one for each; None: the model's defaults.
        priority: one for all prompts or one for each; lower runs first.
        prompt_token_ids: vLLM's older argument for prompts of token ids, instead of `prompts`.
        A wrong prompt raises RequestError before anything runs. A prompt that fails in the engine has finish_reason
        "error"; the others go on.
        """
        refuse_unbuilt(lora_request=lora_request, mm_processor_kwargs=mm_processor_kwargs)
        if prompt_token_ids is not None and prompts is not None:
            raise RequestError("prompt_token_ids", prompt_token_ids, expected="None beside prompts",
                               hint="Give the token ids as the prompts.")
        prompts = prompts if prompt_token_ids is None else prompt_token_ids
        prepared = self._prepare(split_prompts(prompts), sampling_params, priority, tokenization_kwargs)
        return self._run(prepared, use_tqdm)

    def chat(self, messages: Any, sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
             use_tqdm: bool | Callable[..., Any] = True, lora_request: None = None,
             priority: int | Sequence[int] | None = None, chat_template: str | None = None,
             chat_template_content_format: str = "auto", add_generation_prompt: bool = True,
             continue_final_message: bool = False, tools: list[dict[str, Any]] | None = None,
             chat_template_kwargs: dict[str, Any] | None = None, tokenization_kwargs: Mapping[str, Any] | None = None,
             mm_processor_kwargs: None = None) -> list[RequestOutput]:
        """The answers to one conversation (a list of messages) or a list of conversations, as `generate` returns them.
        """
        refuse_unbuilt(lora_request=lora_request, mm_processor_kwargs=mm_processor_kwargs)
        prepared = self._prepare_chat(
            messages, sampling_params, priority, tokenization_kwargs, chat_template=chat_template,
            chat_template_content_format=chat_template_content_format, add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message, tools=tools, chat_template_kwargs=chat_template_kwargs)
        return self._run(prepared, use_tqdm)

    def enqueue(self, prompts: Any, sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *,
                use_tqdm: bool | Callable[..., Any] = True, lora_request: None = None,
                priority: int | Sequence[int] | None = None, tokenization_kwargs: Mapping[str, Any] | None = None,
                mm_processor_kwargs: None = None) -> list[str]:
        """Queue prompts as `generate` does and return their request ids. `wait_for_completion` runs them.

        use_tqdm: accepted for vLLM's sake; queueing shows no bar.
        """
        refuse_unbuilt(lora_request=lora_request, mm_processor_kwargs=mm_processor_kwargs)
        return self._enqueue(self._prepare(split_prompts(prompts), sampling_params, priority, tokenization_kwargs))

    def enqueue_chat(self, messages: Any, sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *,
                     use_tqdm: bool | Callable[..., Any] = True, priority: int | Sequence[int] | None = None,
                     tokenization_kwargs: Mapping[str, Any] | None = None, **chat_options: Any) -> list[str]:
        """Queue conversations as `chat` does and return their request ids. `wait_for_completion` runs them.

        use_tqdm: accepted for vLLM's sake; queueing shows no bar. chat_options: the arguments of `chat` from
        chat_template to chat_template_kwargs.
        """
        prepared = self._prepare_chat(messages, sampling_params, priority, tokenization_kwargs, **chat_options)
        return self._enqueue(prepared)

    def wait_for_completion(self, output_type: type | None = None, *,
                            use_tqdm: bool | Callable[..., Any] = True) -> list[RequestOutput]:
        """Run all enqueued requests and return their outputs in order. output_type: None or RequestOutput."""
        if output_type not in (None, RequestOutput):
            raise NotBuiltError("output_type", output_type, expected="RequestOutput", hint="weft only generates.")
        wanted, self._enqueued = self._enqueued, []
        with Progress(len(wanted), use_tqdm) as progress:
            self._step_until(wanted, progress)
        return [self._finished.pop(request_id) for request_id in wanted]

    def beam_search(self, prompts: Any, params: BeamSearchParams, lora_request: None = None,
                    use_tqdm: bool | Callable[..., Any] = False,
                    concurrency_limit: int | None = None) -> list[BeamSearchOutput]:
        """The `beam_width` likeliest continuations of each prompt. concurrency_limit: prompts searched at a time."""
        refuse_unbuilt(lora_request=lora_request)
        if not isinstance(params, BeamSearchParams):
            raise RequestError("params", params, expected="a BeamSearchParams")
        if concurrency_limit is not None and (type(concurrency_limit) is not int or concurrency_limit < 1):
            raise RequestError("concurrency_limit", concurrency_limit, expected="an integer of at least 1, or None")
        prepared = self._prepare(split_prompts(prompts), beam_request(params), None, None)
        limit = concurrency_limit or max(len(prepared), 1)
        groups = [prepared[first: first + limit] for first in range(0, len(prepared), limit)]
        outputs = [output for group in groups for output in self._run(group, use_tqdm)]
        return [as_beams(output, params, self._engine.tokenizer) for output in outputs]

    # The engine

    def get_tokenizer(self) -> Any:
        """The transformers tokenizer, or weft's replacement for it. RequestError if the engine has none."""
        if self._engine.tokenizer is None:
            raise RequestError("tokenizer", None, expected="an engine without skip_tokenizer_init")
        return self._engine.tokenizer.hf

    def get_default_sampling_params(self) -> SamplingParams:
        """The parameters that `generate` uses by default: the model's generation config. A new object each time."""
        return default_sampling_params(self.config)

    def get_metrics(self) -> list[Metric]:
        """The engine's metrics: those of a server's `/metrics`, under vLLM's names."""
        return metrics_list(self._engine.metrics.registry)

    @property
    def stats(self) -> EngineStats:
        """The engine's statistics after its last step, in weft's own form."""
        return self._engine.client.stats

    def apply_model(self, func: Callable[[Any], Any]) -> list[Any]:
        """Call `func(model)`. Returns a list with one result for each worker."""
        return self._engine.client.apply_model(func)

    def collective_rpc(self, method: str | Callable[..., Any], timeout: float | None = None, args: Sequence[Any] = (),
                       kwargs: Mapping[str, Any] | None = None) -> list[Any]:
        """Call a method of each worker by name, or method(worker, ...). Returns a list with one result for each worker.

        timeout: accepted for vLLM's sake; a call in this process waits for nothing.
        """
        return self._engine.client.collective_rpc(method, args, kwargs)

    def reset_prefix_cache(self, reset_running_requests: bool = False, reset_connector: bool = False) -> bool:
        """Forget all cached prefixes. Returns False, with nothing changed, while requests run."""
        if reset_running_requests or reset_connector:
            raise NotBuiltError("reset_running_requests" if reset_running_requests else "reset_connector", True,
                                expected="False", hint="weft has no code for it yet.")
        return self._engine.client.reset_prefix_cache()

    def reset_mm_cache(self) -> None:
        """Forget the encoder's rows of all media that no running request needs."""
        self._engine.client.reset_mm_cache()

    # Inside

    def _prepare(self, prompts: Sequence[Any], sampling_params: Any, priority: Any,
                 tokenization_kwargs: Mapping[str, Any] | None, *, add_special_tokens: bool = True,
                 ) -> list[PreparedRequest]:
        """Check and tokenize all prompts, so that a wrong prompt raises before anything runs."""
        params = self._params_for(sampling_params, len(prompts))
        priorities = _one_for_each("priority", 0 if priority is None else priority, len(prompts))
        options: dict[str, Any] = {"add_special_tokens": add_special_tokens}
        options |= _tokenization_options(tokenization_kwargs)
        truncate = options.pop("truncate_prompt_tokens", None)
        prepared = []
        for prompt, own, urgency in zip(prompts, params, priorities, strict=True):
            if truncate is not None and isinstance(own, SamplingParams):
                own = own.clone()
                own.truncate_prompt_tokens = truncate
            prepared.append(self._engine.inputs.prepare(str(next(self._ids)), prompt, own, priority=urgency, **options))
            prepared[-1].params.output_kind = RequestOutputKind.FINAL_ONLY      # `params` is a copy of the user's
        return prepared

    def _pool(self, prompts: Sequence[Any], params: Any, task: str | None, use_tqdm: bool | Callable[..., Any],
              tokenization_kwargs: Mapping[str, Any] | None) -> list[PoolingRequestOutput[PoolingOutput]]:
        how, tasks = Tokenization.read(tokenization_kwargs), self._engine.client.info.tasks
        prepared = [
            self._engine.inputs.prepare(str(next(self._ids)), prompt, pooling_params(own, task, tasks),
                                        tokenization=how)
            for prompt, own in zip(prompts, _one_for_each("pooling_params", params, len(prompts)), strict=True)]
        return self._run(prepared, use_tqdm)

    def _prepare_chat(self, messages: Any, sampling_params: Any, priority: Any,
                      tokenization_kwargs: Mapping[str, Any] | None, **chat_options: Any) -> list[PreparedRequest]:
        self._engine.inputs.require_task("generate")
        if self._renderer is None:
            raise RequestError("messages", messages, expected="an engine without skip_tokenizer_init")
        if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
            raise RequestError("messages", messages, expected="a list of messages, or a list of such lists")
        each = [messages] if isinstance(messages[0], Mapping) else messages
        conversations, media = zip(*(take_media(one, IN_PYTHON) for one in each), strict=True)
        prompts = [self._renderer.render(conversation, **chat_options) for conversation in conversations]
        params, tokenizer = self._params_for(sampling_params, len(prompts)), self._engine.tokenizer
        if tokenizer is not None and not self.config.model.enable_in_reasoning:
            params = [behind_reasoning(own, prompt, conversation[-1], tokenizer,
                                       name=self.config.model.reasoning_parser,
                                       continues=bool(chat_options.get("continue_final_message")))
                      for own, prompt, conversation in zip(params, prompts, conversations, strict=True)]
        fetch = self._engine.inputs.media.fetch
        given = [{"prompt": prompt, "multi_modal_data": {kind: fetch(items) for kind, items in own.items.items()},
                  "multi_modal_uuids": own.uuids} if own.items else prompt
                 for prompt, own in zip(prompts, media, strict=True)]
        return self._prepare(given, params, priority, tokenization_kwargs, add_special_tokens=False)

    def _params_for(self, params: Any, num_prompts: int) -> Sequence[Any]:
        params = self.get_default_sampling_params() if params is None else params
        return _one_for_each("sampling_params", params, num_prompts)

    def _run(self, prepared: Sequence[Prepared], use_tqdm: bool | Callable[..., Any]) -> list[Any]:
        wanted = [request.request_id for request in prepared]
        with Progress(len(wanted), use_tqdm) as progress:
            self._step_until(wanted, progress, deque(prepared))
        return [self._finished.pop(request_id) for request_id in wanted]

    def _enqueue(self, prepared: Sequence[PreparedRequest]) -> list[str]:
        ids = [request.request_id for request in prepared]
        try:
            for request in prepared:
                self._engine.submit(request)
        except BaseException:
            self._engine.abort_request(ids)
            raise
        self._enqueued += ids
        return ids

    def _step_until(self, wanted: Sequence[str], progress: Progress,
                    waiting: deque[Prepared] | None = None) -> None:
        """Run engine steps until all `wanted` requests have finished; submit `waiting` requests as the queue has room.

        Any exception (also KeyboardInterrupt) aborts the wanted requests and reaches the caller.
        """
        waiting = deque() if waiting is None else waiting
        missing = set(wanted) - self._finished.keys()
        try:
            while missing:
                self._submit(waiting)
                for output in self._engine.step():
                    self._finished[output.request_id] = output
                    if output.request_id in missing:
                        missing.remove(output.request_id)
                        progress.finished(output)
        except BaseException:
            self._engine.abort_request(wanted)
            for request_id in wanted:
                self._finished.pop(request_id, None)
            raise

    def _submit(self, waiting: deque[Prepared]) -> None:
        while waiting:
            try:
                self._engine.submit(waiting[0])
            except QueueFullError:
                if not self._engine.has_unfinished_requests():
                    raise
                return
            waiting.popleft()


def _one_for_each(name: str, value: Any, count: int) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise RequestError(name, f"{len(value)} entries", expected=f"one, or one for each of the {count} prompts")
    return value


def _tokenization_options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    for name, value in (given or {}).items():
        if name not in _TOKENIZATION_OPTIONS:
            raise RequestError(f"tokenization_kwargs.{name}", value,
                               expected=f"only {', '.join(_TOKENIZATION_OPTIONS)}")
    return dict(given or {})

"""`EngineCore`: one engine in this process. Takes requests, runs steps and returns each step's outputs.

The core joins the scheduler, which decides, and the runner, which computes. It knows token ids, no text.
`process/client.py` calls the core in the user's process, `process/loop.py` in a child process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from operator import sub
from typing import Any

from weft.cache.manager import CacheManager
from weft.config.allocator import give_back_freed_pages
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.engine.memory.need import memory_need
from weft.engine.memory.plan import scheduler_config
from weft.engine.memory.start_report import start_report
from weft.engine.pooling import pooling_info
from weft.engine.process.client import Rejection
from weft.engine.process.messages import EngineInfo, EngineOutput, EngineRequest, EngineStats, StepResult
from weft.engine.runner import Runner
from weft.engine.scheduler import Scheduler
from weft.engine.sequence import Sequence, uses_mirostat
from weft.engine.speculation import make_proposer
from weft.engine.step_plan import Scheduled, StepPlan
from weft.engine.step_results import SequenceResult
from weft.errors import RequestError
from weft.extend.named_object import load_named
from weft.grammar.compile_pool import KEPT_BYTES
from weft.grammar.vocabulary import Vocabulary
from weft.models.extra_outputs import extra_output_names
from weft.ops.native import is_installed
from weft.sampling_params import SamplingParams

logger = logging.getLogger("weft")

_COMPILE_WAIT_S = 0.02      # a step with nothing to compute waits so long for a grammar


class EngineCore:
    """Plans memory, loads weights, then takes requests and runs steps.

    Raises ConfigError, CheckpointError or MemoryPlanError when it cannot start.
    faults: exceptions out of a step that end its requests; others leave `step`, as Ctrl-C does in the user's process.
    on_start: called with the ids of sequences before the first step that computes them.
    waits_for_grammars: `add` returns, or raises, when a request's grammar is compiled. False: other requests go on
        meanwhile, and `take_rejected` has those whose grammars are wrong.
    """

    memory_need = staticmethod(memory_need)

    def __init__(self, config: EngineConfig) -> None:
        start = time.monotonic()
        machine = Machine.detect()
        for line in start_report(config, machine):
            logger.info("%s", line)
        if not is_installed():
            logger.warning("weft was installed without its native kernels: it runs on torch's operators, slower, and "
                           "rounding depends on the batch. Install a C++ compiler (g++), then weft again.")
        self.runner = Runner(config, machine)
        plan, encoder, media = self.runner.memory, self.runner.model.encoder, self.runner.model.media
        shares = config.cache.enable_prefix_caching and self.runner.model.shares_prefixes
        cache = CacheManager(plan.groups, plan.num_blocks, shares)
        self._scheduler = Scheduler(scheduler_config(config, plan), cache, max_model_len=plan.max_model_len,
                                    has_drafts=config.speculative is not None,
                                    media_unit="rows" if media is None else media.unit)
        self._proposer = make_proposer(config.speculative)
        self.stats = EngineStats()
        self.faults: tuple[type[BaseException], ...] = (Exception,)
        self.on_start: Callable[[list[str]], None] = lambda request_ids: None
        self.waits_for_grammars = True
        self._rejected: list[Rejection] = []
        self.info = EngineInfo(
            max_model_len=plan.max_model_len, num_blocks=list(plan.num_blocks), block_size=plan.block_size,
            weight_bytes=plan.weight_bytes, activation_bytes=plan.activation_bytes, kv_cache_bytes=plan.kv_cache_bytes,
            memory_bytes=plan.total_bytes, load_seconds=time.monotonic() - start, kernels=self.runner.list_kernels(),
            grammar_cache_limit_bytes=KEPT_BYTES, tasks=sorted(self.runner.model.tasks),
            prompt_embeds_size=self.runner.model.prompt_embeds_size,
            extra_outputs=list(extra_output_names(self.runner.model)),
            media_kinds=[] if media is None else sorted(media.kinds),
            media_token_ids={} if media is None else dict(media.token_ids),
            encoder_vocab_size=encoder and encoder.vocab_size, max_encoder_len=encoder and encoder.max_len,
            encoder_row_size=encoder and encoder.row_size,
            pooling=pooling_info(self.runner.model), words=self.runner.model.words())

    @property
    def has_unfinished(self) -> bool:
        return self._scheduler.has_unfinished

    def add(self, request: EngineRequest) -> None:
        """Queue a request. RequestError if it can never fit, QueueFullError if too many requests wait."""
        if isinstance(request.params, SamplingParams):
            self.runner.sampler.check_params(request.params)
        self._scheduler.add(Sequence(request), is_compiling=request.constraint is not None)
        if request.constraint is not None:
            self._compile(request)

    def _compile(self, request: EngineRequest) -> None:
        try:
            self.runner.constraints.start(request)
            while self.waits_for_grammars and request.request_id not in self._take_compiled(timeout_s=60.0):
                pass
        except BaseException:      # KeyboardInterrupt too: a request that was not taken leaves nothing behind
            self.abort([request.request_id])
            raise

    def _take_compiled(self, *, timeout_s: float = 0.0) -> list[str]:
        """Queues requests whose grammars are there; returns their ids. Those with errors are rejected or, where `add`
        waits, raise theirs.
        """
        found = self.runner.constraints.compiled(timeout_s=timeout_s)
        for request_id, error in found:
            if error is None:
                self._scheduler.compiled(request_id)
            elif self.waits_for_grammars:
                raise error
            else:
                self._scheduler.abort(request_id, reason="error")
                self._rejected.append(Rejection(request_id, error))
        return [request_id for request_id, _ in found]

    def take_rejected(self) -> list[Rejection]:
        """The requests that the engine took, and whose grammars turned out to be wrong, since the last call."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The bytes of the tokens, for requests with a grammar."""
        self.runner.constraints.set_vocabulary(vocabulary)

    def abort(self, request_ids: Iterable[str]) -> None:
        """End requests in any state and release their blocks at once. Unknown ids are ignored."""
        ended = tuple(request_ids)
        for request_id in ended:
            self._scheduler.abort(request_id)
        self.runner.end_sequences(ended)
        self._count(step_tokens=0)

    def step(self) -> StepResult:
        """Schedule, run, apply. A sequence whose computation fails ends with "error"; the others go on."""
        self._take_compiled(timeout_s=_COMPILE_WAIT_S if self._scheduler.is_only_compiling else 0.0)
        plan = self._scheduler.schedule()
        if plan.started:
            self.on_start([seq.request_id for seq in plan.started])
        began = time.monotonic()
        results = self._execute(plan)
        self._scheduler.pace.note(plan, time.monotonic() - began)
        outputs = self._apply(plan, results)
        self._propose(plan)
        self._count(step_tokens=plan.num_tokens)
        return StepResult(outputs=outputs, stats=self.stats)

    def _execute(self, plan: StepPlan) -> list[SequenceResult]:
        try:
            return self.runner.execute(plan)
        except self.faults as error:
            # A fault of the request's needs no traceback of weft's, unless another error stands behind it.
            shows = not isinstance(error, RequestError) or error.__cause__ is not None
            if len(plan.scheduled) == 1:
                logger.error("request %s failed: %s", plan.scheduled[0].seq.request_id, error, exc_info=shows)
                return [SequenceResult(error=f"{type(error).__name__}: {error}")]
            logger.error("a step of %d sequences failed; each is run alone", len(plan.scheduled), exc_info=shows)
        # A sequence can run again: a step never changes the cache entries that it reads, and its draws are the same.
        return [result for item in plan.scheduled
                for result in self._execute(plan._replace(scheduled=(item,), num_tokens=item.num_new_tokens))]

    def _apply(self, plan: StepPlan, results: list[SequenceResult]) -> list[EngineOutput]:
        alive = [not item.seq.is_finished for item in plan.scheduled]       # an abort may have come in between
        cached_before = [item.seq.num_computed_tokens for item in plan.scheduled]
        lengths = [item.seq.num_tokens for item in plan.scheduled]
        for item, result, was_alive in zip(plan.scheduled, results, alive, strict=True):
            if result.error is not None and was_alive:          # before `apply` publishes its blocks as a prefix
                self._end(item.seq, result)
        self._scheduler.apply(plan, [result.token_ids for result in results])
        sampled_lengths = [item.seq.num_tokens for item in plan.scheduled]
        forced = self._force(plan.scheduled)
        self.runner.end_sequences([item.seq.request_id for item in plan.scheduled if item.seq.is_finished])
        outputs = []
        for item, result, was_alive, before, num_sampled, more in zip(
                plan.scheduled, results, alive, cached_before, map(sub, sampled_lengths, lengths), forced, strict=True):
            if not was_alive:
                continue
            seq = item.seq
            if item.drafts:
                result.cut(num_sampled)                         # drops tokens after the end of the sequence
                self._count_drafts(item.drafts, result.token_ids)
            result.token_ids += more
            self.stats.prompt_tokens += _prompt_tokens(seq, before, item.num_new_tokens)
            self.stats.generation_tokens += len(result.token_ids)
            if result.prompt_logprobs:
                seq.num_prompt_logprobs += len(result.prompt_logprobs)
            if result.extra_outputs:
                seq.num_extra_rows += next(iter(result.extra_outputs.values())).shape[0]
            if seq.is_finished or result.token_ids or result.prompt_logprobs or result.extra_outputs:
                outputs.append(_output(seq, result))
        return outputs

    def _force(self, items: Iterable[Scheduled]) -> list[list[int]]:
        """Appends the tokens that the grammars of sampled sequences leave no choice about, and returns each item's."""
        sampled = [item.seq for item in items if item.num_rows and not item.seq.is_finished]
        found = {} if self.runner.sampler.has_processors else self.runner.constraints.forced(sampled)
        forced = [found.get(item.seq.request_id, []) for item in items]
        return [tokens[: self._scheduler.extend(item.seq, tokens)] if tokens else tokens
                for item, tokens in zip(items, forced, strict=True)]

    def _end(self, seq: Sequence, result: SequenceResult) -> None:
        """Ends a sequence with an error. If its own parameters forbid every token, it ends with "stop" and a reason;
        without a reason, if its grammar's answer is whole.
        """
        self._scheduler.abort(seq.request_id, reason="stop" if result.is_dead_end else "error")
        if result.is_dead_end:
            seq.stop_reason, result.error = result.error or None, None

    def _propose(self, plan: StepPlan) -> None:
        """Asks the proposer for drafts of the next step, for each sequence that this step sampled."""
        if self._proposer is None:
            return
        seqs = [item.seq for item in plan.scheduled
                if item.num_rows and not item.seq.is_finished and not uses_mirostat(item.seq)]
        for seq, drafts in zip(seqs, self._proposer.propose(seqs), strict=True):
            seq.draft_token_ids = drafts

    def _count_drafts(self, drafts: tuple[int, ...], token_ids: list[int]) -> None:
        stats = self.stats
        stats.num_drafts += 1
        stats.num_draft_tokens += len(drafts)
        per_pos = stats.num_accepted_tokens_per_pos
        per_pos += [0] * (len(drafts) - len(per_pos))
        for pos, (draft, token_id) in enumerate(zip(drafts, token_ids, strict=False)):
            per_pos[pos] += draft == token_id             # only the last sampled token can differ from its draft

    def _count(self, *, step_tokens: int) -> None:
        stats, scheduler = self.stats, self._scheduler
        stats.num_running, stats.num_waiting = scheduler.num_running, scheduler.num_waiting
        stats.num_deferred = scheduler.num_deferred
        stats.prefix_cache_bytes = scheduler.prefix_cache_bytes
        stats.grammar_cache_bytes = self.runner.constraints.num_bytes
        stats.kv_cache_usage = scheduler.kv_cache_usage
        stats.prefix_cache_queries = scheduler.prefix_cache_queries
        stats.prefix_cache_hits = scheduler.prefix_cache_hits
        stats.num_preemptions = scheduler.num_preemptions
        cache = scheduler.media.cache
        stats.media_queries, stats.media_hits, stats.media_rows = cache.queries, cache.hits, cache.num_rows
        stats.num_steps += step_tokens > 0
        stats.step_tokens = step_tokens

    def reset_prefix_cache(self) -> bool:
        """Forget all cached prefixes. Returns False, with nothing changed, while sequences hold blocks."""
        return self._scheduler.reset_prefix_cache()

    def reset_mm_cache(self) -> None:
        """Forget the encoder's rows of all media that no sequence holds."""
        self.runner.media.drop(self._scheduler.media.cache.clear())

    def collective_rpc(self, method: str | Callable[..., Any], args: Iterable[Any] = (),
                       kwargs: Mapping[str, Any] | None = None) -> list[Any]:
        """Call a public method of the worker (the runner) by name, or function(worker, ...).

        method: a name, a function, or "module:Name" of one. Returns a list with one result for each worker.
        """
        if not isinstance(method, str) or ":" in method:
            function = load_named(method, field="method") if isinstance(method, str) else method
            return [self.runner.apply(function, *args, **(kwargs or {}))]
        target = None if method.startswith("_") else getattr(self.runner, method, None)
        if not callable(target):
            raise AttributeError(f"collective_rpc: the worker has no method {method!r}")
        return [target(*args, **(kwargs or {}))]

    def apply_model(self, func: Callable[[Any], Any] | str) -> list[Any]:
        """Returns [func(model)], one entry for each worker."""
        return [self.runner.apply_model(func)]

    def check(self) -> None:
        """AssertionError if the accounting of blocks and sequences is inconsistent. For tests."""
        self._scheduler.check()

    def close(self) -> None:
        """Drop the model and the caches, and give their memory back to the system."""
        self.runner.constraints.close()
        del self.runner, self._scheduler
        give_back_freed_pages()


def _prompt_tokens(seq: Sequence, start: int, count: int) -> int:
    """Prompt tokens that this step adds to the statistics: the computed ones and, on the first step, the cached ones.

    A prompt that is computed again after a preemption does not count again.
    """
    if seq.num_preemptions and start < seq.num_prompt_tokens:
        return 0
    first = 0 if start == (seq.num_cached_tokens or 0) else start
    return max(0, min(start + count, seq.num_prompt_tokens) - first)


def _output(seq: Sequence, result: SequenceResult) -> EngineOutput:
    return EngineOutput(
        request_id=seq.request_id, new_token_ids=result.token_ids, logprobs=result.logprobs,
        prompt_logprobs=result.prompt_logprobs, pooled=result.pooled, extra_outputs=result.extra_outputs,
        finish_reason=seq.finish_reason,
        stop_reason=seq.stop_reason, num_cached_tokens=seq.num_cached_tokens or 0,
        first_scheduled_time=seq.first_scheduled_time, num_preemptions=seq.num_preemptions, error=result.error,
        mirostat_mu=seq.mirostat_mu if uses_mirostat(seq) else None)

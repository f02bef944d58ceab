"""The runner ("worker"): holds the model, the caches and the sampler; turns a StepPlan into one forward pass.

The runner knows nothing of queues, of block owners or of a request's life cycle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Any

import torch
from torch import Tensor

from weft.checkpoint.loader import open_weights
from weft.config.allocator import keep_freed_pages
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.config.threads import nodes_of_threads
from weft.engine.logits_processors.batch import BatchProcessors
from weft.engine.logits_processors.find import find_processors
from weft.engine.memory.cache_tensors import bind_caches
from weft.engine.memory.plan import MemoryPlan, plan_memory, planned_groups
from weft.engine.process.messages import TokenLogprobs, WireTensor
from weft.engine.process.wire_tensor import to_wire
from weft.engine.sampler import Sampled, Sampler, SampleRow
from weft.engine.step_inputs import step_inputs, trial_step
from weft.engine.step_plan import Scheduled, StepPlan
from weft.errors import ConfigError
from weft.extend.named_object import load_named
from weft.models.build import build_model, layer_context
from weft.models.engine_model import EngineModel
from weft.models.extra_outputs import forward_with
from weft.models.vllm.vllm_config import vllm_config
from weft.ops.kernel import explain
from weft.ops.native import unavailable
from weft.ops.nodes import MemoryNodes
from weft.ops.step import Step
from weft.parallel import current_ranks

logger = logging.getLogger("weft")

_LOGIT_ROWS = 256              # prompt_logprobs: rows of float32 logits in memory at a time


@dataclass(slots=True)
class SequenceResult:
    """The result of a step for one scheduled sequence.

    error: why the sequence cannot go on; then `token_ids` is empty.
    is_dead_end: the sequence's own parameters forbid every token; nothing has failed.
    """

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs] | None = None
    pooled: WireTensor | None = None
    extra_outputs: dict[str, WireTensor] | None = None
    error: str | None = None
    is_dead_end: bool = False

    def cut(self, num_tokens: int) -> None:
        """Keeps the first `num_tokens` tokens and their log-probabilities only."""
        del self.token_ids[num_tokens:]
        if self.logprobs is not None:
            del self.logprobs[num_tokens:]


class Runner:
    """The model, its caches and the sampler of one engine."""

    def __init__(self, config: EngineConfig, machine: Machine) -> None:
        torch.set_num_threads(config.num_threads)
        context = layer_context(config, _memory_nodes(config, machine))
        self.model = build_model(config, context, open_weights(config.model, config.load))
        processors = _processors(config, self.model)
        self.memory: MemoryPlan = plan_memory(self.model, config, machine)
        if config.enforce_eager:
            self.model.refuse_recordings("enforce_eager")
        report = self.model.load(max_model_len=self.memory.max_model_len, use_tqdm=config.load.use_tqdm)
        logger.debug("%s", report)
        if planned_groups(self.model, config) != self.memory.groups:      # loading showed that it needs other caches
            self.memory = plan_memory(self.model, config, machine)
        bind_caches(self.model.caches, self.memory.groups, self.memory.num_blocks)
        keep_freed_pages()                     # only after loading: freed weight buffers should go back to the system
        with torch.inference_mode():
            self.model.try_step(trial_step(self.memory))
        self.sampler = Sampler(config.model.logprobs_mode, config.cpu_isa, processors)

    def execute(self, step_plan: StepPlan) -> list[SequenceResult]:
        """One forward pass and sampling. Returns one result for each scheduled sequence, in the plan's order."""
        self.model.end_sequences([seq.request_id for seq in step_plan.preempted])
        if not step_plan.scheduled:
            return []
        step = step_inputs(step_plan, self.memory)
        with torch.inference_mode():
            names = _extra_names(step_plan)
            hidden, extra = forward_with(self.model, step, names) if names else (self.model.forward(step), {})
            results = [SequenceResult() for _ in step_plan.scheduled]
            self._sample(step_plan, step, hidden, results)
            self._prompt_logprobs(step_plan, step, hidden, results)
            self._pool(step_plan, step, hidden, results)
        if extra:
            _give_extra(step_plan, step, extra, results)
        return results

    def end_sequences(self, request_ids: Iterable[str]) -> None:
        """These sequences will not be scheduled again."""
        self.model.end_sequences(request_ids)

    def _sample(self, step_plan: StepPlan, step: Step, hidden: Tensor, results: list[SequenceResult]) -> None:
        """Samples the wanted rows; each sequence gets the tokens up to its first rejected draft.

        hidden: [T, E], the model's output for all tokens of the step.
        """
        wanted = step.wanted_rows
        if not wanted:
            return
        logits = self.model.compute_logits(hidden if len(wanted) == hidden.shape[0] else hidden[list(wanted)])
        samples = iter(self.sampler.sample(logits, [row for item in step_plan.scheduled for row in _rows(item)]))
        for item, result in zip(step_plan.scheduled, results, strict=True):
            _accept(item, list(islice(samples, item.num_rows)), result)

    def _prompt_logprobs(self, step_plan: StepPlan, step: Step, hidden: Tensor,
                         results: list[SequenceResult]) -> None:
        row = 0
        for item, count, result in zip(step_plan.scheduled, step.query_lens, results, strict=True):
            num_best = None if item.seq.is_pooling else item.seq.request.sampling.prompt_logprobs
            if num_best is not None:
                result.prompt_logprobs = self._of_prompt(item, hidden[row : row + count], num_best)
            row += count

    def _pool(self, step_plan: StepPlan, step: Step, hidden: Tensor, results: list[SequenceResult]) -> None:
        """Pools the hidden states [T, E] of pooling sequences. A step computes the whole prompt of each."""
        if self.model.pooler is None:
            return
        row = 0
        for item, count, result in zip(step_plan.scheduled, step.query_lens, results, strict=True):
            pooled = self.model.pooler(hidden[row : row + count], item.seq.request.pooling)
            if pooled.isfinite().all():
                result.pooled = to_wire(pooled)
            else:
                result.error = "the model's states for this request are not numbers (NaN or infinity)"
            row += count

    def _of_prompt(self, item: Scheduled, hidden: Tensor, num_best: int) -> list[TokenLogprobs]:
        """Log-probabilities of the prompt tokens that this chunk's positions predict, without those reported before.

        hidden: [item.num_new_tokens, E].
        """
        seq = item.seq
        first = max(item.start, seq.num_prompt_logprobs)                  # the first position that is not reported yet
        last = min(item.start + item.num_new_tokens, seq.num_prompt_tokens - 1)
        out: list[TokenLogprobs] = []
        for start in range(first, last, _LOGIT_ROWS):
            stop = min(start + _LOGIT_ROWS, last)
            logits = self.model.compute_logits(hidden[start - item.start : stop - item.start])
            next_ids = seq.token_ids[start + 1 : stop + 1]
            out += self.sampler.prompt_logprobs(logits, next_ids, num_best)
        return out

    # Methods that users call through collective_rpc and apply_model.

    def apply_model(self, func: Callable[[torch.nn.Module], Any] | str) -> Any:
        """func(model). func: a function or "module:Name" of one.

        Drops all recordings (graph captures), so that the next step sees changes of the model.
        """
        function = load_named(func, field="func") if isinstance(func, str) else func
        return self.apply(lambda worker: function(worker.model.module))

    def apply(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """function(this worker, ...). Drops all recordings, as `apply_model`."""
        try:
            return function(self, *args, **kwargs)
        finally:
            self.model.forget_recordings()

    def list_kernels(self) -> dict[str, str]:
        """{operator: the kernels that its layers chose, with the reasons against other kernels}."""
        return explain([*self.model.choices(), self.sampler.choice])

    def memory_plan(self) -> dict[str, Any]:
        """The memory plan as plain data."""
        plan = self.memory
        return {"weight_bytes": plan.weight_bytes, "activation_bytes": plan.activation_bytes,
                "kv_cache_bytes": plan.kv_cache_bytes, "num_blocks": list(plan.num_blocks),
                "block_size": plan.block_size, "max_model_len": plan.max_model_len}


def _rows(item: Scheduled) -> list[SampleRow]:
    return [SampleRow(item.seq, item.drafts[:count]) for count in range(item.num_rows)]


def _extra_names(step_plan: StepPlan) -> dict[str, None]:
    """The extra outputs that sequences of a step ask for."""
    return {name: None for item in step_plan.scheduled if not item.seq.is_pooling
            for name in item.seq.request.sampling.extra_outputs or ()}


def _give_extra(step_plan: StepPlan, step: Step, extra: dict[str, Tensor], results: list[SequenceResult]) -> None:
    """Each sequence's rows of extra outputs [T, ...], without those that left the engine before, or rejected drafts."""
    row = 0
    for item, count, result in zip(step_plan.scheduled, step.query_lens, results, strict=True):
        names = None if item.seq.is_pooling else item.seq.request.sampling.extra_outputs
        if names and result.error is None:
            first = row + max(item.seq.num_extra_rows - item.start, 0)
            last = row + item.num_kept(len(result.token_ids))
            if first < last:
                result.extra_outputs = {name: to_wire(extra[name][first:last]) for name in names}
        row += count


def _accept(item: Scheduled, samples: list[Sampled], result: SequenceResult) -> None:
    """Appends samples to the result, up to and including the first that differs from its draft.

    An error in a later row ends the acceptance without an error: the next step samples that row again as its first.
    """
    if samples and samples[0].error is not None:
        result.error, result.is_dead_end = samples[0].error, samples[0].is_dead_end
        return
    for sample, draft in zip_longest(samples, item.drafts):
        if sample.error is not None:
            return
        result.token_ids.append(sample.token_id)
        if sample.logprobs is not None:
            result.logprobs = [*(result.logprobs or ()), sample.logprobs]
        if sample.token_id != draft:
            return


def _processors(config: EngineConfig, model: EngineModel) -> BatchProcessors | None:
    """The logits processors of the option and of entry points; None: there are none, or the model has no logits.

    ConfigError for a model or an option that they do not go with.
    """
    classes = find_processors(config.logits_processors)
    names = [cls.__name__ for cls in classes]
    if classes and "generate" not in model.tasks:
        if config.logits_processors:
            raise ConfigError("logits_processors", names, expected="none", hint="The model generates no tokens.")
        return None
    if classes and config.speculative is not None:
        raise ConfigError("logits_processors", names, expected="none with speculative_config", hint="A processor's "
                          "state belongs to tokens that are drawn, and drafts may be rejected. Functions of single "
                          "requests (SamplingParams.logits_processors) go with speculation.")
    return BatchProcessors(classes, vllm_config(config, current_ranks())) if classes else None


def _memory_nodes(config: EngineConfig, machine: Machine) -> MemoryNodes | None:
    """The NUMA nodes among which the native kernels divide each weight; None if weights are not divided."""
    if unavailable("cpu", config.cpu_isa):
        return None
    nodes = nodes_of_threads(config.num_threads, config.cpus, machine)
    return MemoryNodes(nodes) if nodes else None

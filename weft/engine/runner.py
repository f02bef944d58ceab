"""The runner ("worker"): holds the model, its caches, the sampler and the grammars; a StepPlan becomes a forward pass.

The runner knows nothing of queues, of block owners or of a request's life cycle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from weft.checkpoint.loader import open_weights
from weft.config.allocator import keep_freed_pages
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.config.threads import nodes_of_threads
from weft.engine.constraints import Constraints, RowMasks
from weft.engine.logits_processors.make import batch_processors
from weft.engine.media_rows import MediaRows
from weft.engine.memory.cache_tensors import bind_caches
from weft.engine.memory.plan import MemoryPlan, plan_memory, planned_groups
from weft.engine.pooling import Pooling
from weft.engine.process.messages import TokenLogprobs
from weft.engine.sampler import Sampler
from weft.engine.step_inputs import step_inputs, trial_step
from weft.engine.step_plan import Scheduled, StepPlan
from weft.engine.step_results import SequenceResult, accept, extra_names, give_extra, sample_rows
from weft.extend.named_object import load_named
from weft.models.build import build_model, layer_context
from weft.models.extra_outputs import forward_with
from weft.ops.kernel import explain
from weft.ops.native import unavailable
from weft.ops.nodes import MemoryNodes
from weft.ops.step import Step

logger = logging.getLogger("weft")

_LOGIT_ROWS = 256              # prompt_logprobs: rows of float32 logits in memory at a time


class Runner:
    """The model, its caches, the sampler and the grammars of one engine."""

    def __init__(self, config: EngineConfig, machine: Machine) -> None:
        torch.set_num_threads(config.num_threads)
        context = layer_context(config, _memory_nodes(config, machine))
        self.model = build_model(config, context, open_weights(config.model, config.load))
        processors = batch_processors(config, self.model.tasks)
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
        self._pooling = None if self.model.pooler is None else Pooling(self.model.pooler)
        self.media = MediaRows(self.model.media)
        self.constraints = Constraints()
        self.sampler = Sampler(config.model.logprobs_mode, config.cpu_isa, processors)

    def execute(self, step_plan: StepPlan) -> list[SequenceResult]:
        """One forward pass and sampling. Returns one result for each scheduled sequence, in the plan's order."""
        self.model.end_sequences([seq.request_id for seq in step_plan.preempted])
        self.media.drop(step_plan.dropped_media)
        if not step_plan.scheduled:
            return []
        masks = self.constraints.start_masks(step_plan)
        with torch.inference_mode():
            step = step_inputs(step_plan, self.memory, self.media.step_media(step_plan))
            names = extra_names(step_plan)
            hidden, extra = forward_with(self.model, step, names) if names else (self.model.forward(step), {})
            results = [SequenceResult() for _ in step_plan.scheduled]
            self._sample(step_plan, step, hidden, results, masks)
            self._prompt_logprobs(step_plan, step, hidden, results)
            self._pool(step_plan, step, hidden, results)
        if extra:
            give_extra(step_plan, step, extra, results)
        return results

    def end_sequences(self, request_ids: Iterable[str]) -> None:
        """These sequences will not be scheduled again."""
        ended = tuple(request_ids)
        self.model.end_sequences(ended)
        self.media.end(ended)
        self.constraints.drop(ended)
        if self._pooling is not None:
            self._pooling.drop(ended)

    def _sample(self, step_plan: StepPlan, step: Step, hidden: Tensor, results: list[SequenceResult],
                masks: Future[RowMasks] | None) -> None:
        """Samples the wanted rows; each sequence gets the tokens up to its first rejected draft.

        hidden: [T, E], the model's output for all tokens of the step.
        """
        wanted = step.wanted_rows
        if not wanted:
            return
        logits = self.model.compute_logits(hidden if len(wanted) == hidden.shape[0] else hidden[list(wanted)])
        rows = [row for item in step_plan.scheduled for row in sample_rows(item)]
        samples = iter(self.sampler.sample(logits, rows, masks and masks.result()))
        for item, result in zip(step_plan.scheduled, results, strict=True):
            accept(item, list(islice(samples, item.num_rows)), result)

    def _prompt_logprobs(self, step_plan: StepPlan, step: Step, hidden: Tensor,
                         results: list[SequenceResult]) -> None:
        row = 0
        for item, count, result in zip(step_plan.scheduled, step.query_lens, results, strict=True):
            num_best = None if item.seq.is_pooling else item.seq.request.sampling.prompt_logprobs
            if num_best is not None:
                result.prompt_logprobs = self._of_prompt(item, hidden[row : row + count], num_best)
            row += count

    def _pool(self, step_plan: StepPlan, step: Step, hidden: Tensor, results: list[SequenceResult]) -> None:
        """Pools the hidden states [T, E] of pooling sequences: whole prompts, or chunks where the pooler can."""
        if self._pooling is not None:
            for item, states, result in zip(step_plan.scheduled, hidden.split(step.query_lens), results, strict=True):
                self._pooling.pool(item, states, result)

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


def _memory_nodes(config: EngineConfig, machine: Machine) -> MemoryNodes | None:
    """The NUMA nodes among which the native kernels divide each weight; None if weights are not divided."""
    if unavailable("cpu", config.cpu_isa):
        return None
    nodes = nodes_of_threads(config.num_threads, config.cpus, machine)
    return MemoryNodes(nodes) if nodes else None

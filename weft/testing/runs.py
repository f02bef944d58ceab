"""weft's side of a comparison: a loaded model whose steps are scheduled as asked, with every block's results kept.

Scheduler, cache and model are the engine's own; only the sampler is left out: the likeliest token is taken.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from weft.cache.manager import CacheManager
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.engine.memory.plan import scheduler_config
from weft.engine.process.messages import EngineRequest
from weft.engine.runner import Runner
from weft.engine.scheduler import Scheduler
from weft.engine.sequence import Sequence as EngineSequence
from weft.engine.step_inputs import step_inputs
from weft.engine.step_plan import StepPlan
from weft.models.decoder import Stack
from weft.ops.step import Step
from weft.pooling_params import PoolingParams
from weft.sampling_params import SamplingParams
from weft.testing.reference import tensors_in

LOGITS = "logits"


@dataclass(slots=True, eq=False)
class Rows:
    """What was computed for one sequence. token_ids: prompt and output. found: {place: [(position, rows)]}."""

    token_ids: list[int]
    found: dict[str, list[tuple[int, Tensor]]] = field(default_factory=dict)

    @property
    def places(self) -> list[str]:
        """Names of block borders in order, and LOGITS."""
        return list(self.found)

    def at(self, place: str) -> tuple[Tensor, Tensor]:
        """(positions [n] in the sequence, rows [n, N]) of a place, in order; a position counts once."""
        last = {start + i: row for start, rows in self.found[place] for i, row in enumerate(rows)}
        positions = sorted(last)
        return torch.tensor(positions), torch.stack([last[position] for position in positions])


class Runs:
    """A model of weft, loaded once, that computes sequences in many ways."""

    def __init__(self, config: EngineConfig) -> None:
        self.config, self.runner = config, Runner(config, Machine.detect())
        self.model, self.memory = self.runner.model, self.runner.memory
        self.has_head = "generate" in self.model.tasks
        self.num_computed_from_cache = 0

    @property
    def blocks(self) -> list[tuple[str, nn.Module]]:
        """The model's layers, by name and in order."""
        module = self.model.module
        lists = [(name, child) for name, child in module.named_modules() if isinstance(child, nn.ModuleList)]
        if not lists:
            return []
        name, layers = max(lists, key=lambda found: len(found[1]) - 1000 * found[0].count("."))
        return [(f"{name}.{i}", layer) for i, layer in enumerate(layers)]

    def request(self, name: str, token_ids: Sequence[int], num_new: int = 1) -> EngineRequest:
        """A request for `num_new` tokens after some, or for the states of a model without a head."""
        params = SamplingParams(temperature=0.0, max_tokens=num_new, ignore_eos=True, seed=0) if self.has_head else \
            PoolingParams(task="token_embed", use_activation=False)
        return EngineRequest(request_id=name, prompt_token_ids=list(token_ids), params=params, eos_token_ids=[],
                             arrival_time=time.monotonic())

    @torch.inference_mode()
    def compute(self, requests: Sequence[EngineRequest], then: Sequence[EngineRequest] = (), *, budget: int,
                waits: bool = False, caches_prefixes: bool = False, is_hooked: bool = True) -> dict[str, Rows]:
        """Run requests; {request id: its rows}. budget: tokens of the largest step.

        then: requests that come after the first step of the others; with `waits`, after their end.
        is_hooked False: where only hooks could see the blocks, they are not seen, so that steps may be recorded.
        """
        limits = replace(scheduler_config(self.config, self.memory), max_num_batched_tokens=budget)
        cache = CacheManager(self.memory.groups, self.memory.num_blocks, caches_prefixes)
        scheduler = Scheduler(limits, cache, max_model_len=self.memory.max_model_len)
        seqs = [EngineSequence(request) for request in (*requests, *then)]
        found = {seq.request_id: Rows(seq.token_ids) for seq in seqs}
        for seq in seqs[: len(requests)]:
            scheduler.add(seq)
        late = seqs[len(requests) :]
        while scheduler.has_unfinished or late:
            if scheduler.has_unfinished:
                plan = scheduler.schedule()
                scheduler.apply(plan, self._step(plan, found, is_hooked=is_hooked))
            if late and not (waits and scheduler.has_unfinished):
                for seq in late:
                    scheduler.add(seq)
                late = []
        self.num_computed_from_cache = scheduler.prefix_cache_hits
        return found

    def single_step(self, token_ids: Sequence[int]) -> Step:
        """The step that computes a whole sequence at once."""
        cache = CacheManager(self.memory.groups, self.memory.num_blocks, False)
        limits = replace(scheduler_config(self.config, self.memory), max_num_batched_tokens=len(token_ids))
        scheduler = Scheduler(limits, cache, max_model_len=self.memory.max_model_len)
        scheduler.add(EngineSequence(self.request("single", token_ids)))
        return step_inputs(scheduler.schedule(), self.memory)

    def _step(self, plan: StepPlan, found: dict[str, Rows], *, is_hooked: bool) -> list[list[int]]:
        """Run a step and keep its rows; the new tokens of each sequence."""
        step = step_inputs(plan, self.memory)
        with self._borders(step, is_hooked=is_hooked) as (step, borders):
            hidden = self.model.forward(step).clone()
        last = self.model.compute_logits(hidden).clone() if self.has_head else hidden
        first, tokens = 0, []
        for item in plan.scheduled:
            part, rows = slice(first, first + item.num_new_tokens), found[item.seq.request_id]
            for place, x in (*borders.items(), (LOGITS, last)):
                rows.found.setdefault(place, []).append((item.start, x[part].float()))
            tokens.append([int(last[part][-1].argmax())] if item.num_rows else [])
            first += item.num_new_tokens
        return tokens

    @contextmanager
    def _borders(self, step: Step, *, is_hooked: bool) -> Iterator[tuple[Step, dict[str, Tensor]]]:
        """(the step to run, {block: [T, E] that comes out of it}), filled while the model runs."""
        module = self.model.module
        if isinstance(module, Stack):
            shape, count = (len(step.input_ids), module.spec.hidden_size), len(module.blocks)
            taps = {i: torch.empty(shape, dtype=module.dtype) for i in range(count + 1)}
            yield replace(step, taps=taps), {"embedding": taps[0]} | {f"blocks.{i}": taps[i + 1] for i in range(count)}
            return
        borders: dict[str, Tensor] = {}
        with ExitStack() as stack:
            for name, layer in self.blocks if is_hooked else ():
                stack.callback(layer.register_forward_hook(_keep(borders, name, len(step.input_ids))).remove)
            yield step, borders


def _keep(borders: dict[str, Tensor], name: str, num_tokens: int):
    """A hook that keeps a layer's result; a residual that is handed on beside it is added."""

    def hook(module: nn.Module, args: object, result: object) -> None:
        rows = [x for x in tensors_in(result) if x.dim() >= 2 and num_tokens in x.shape[:2]]
        if rows:
            both = len(rows) > 1 and rows[1].shape == rows[0].shape
            x = rows[0] + rows[1] if both else rows[0]
            borders[name] = x.reshape(num_tokens, -1).clone()

    return hook

"""`TaskPoolers`: a pooler for each task, of models that make several things of a prompt's states (BGE-M3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from msgspec.structs import replace
from torch import Tensor

from weft.architectures.pooling_spec import HeadLayerSpec, PoolerSpec
from weft.layers.layer import Layer
from weft.layers.pooler import Pooler
from weft.pooling_params import EMBED_AND_TOKEN_CLASSIFY, PoolingParams


class TaskPoolers(Layer):
    """As ModelPooler. Each child has the name of its only task.

    specs: with a task each. hidden_size, has_bias: as of Pooler.
    """

    def __init__(self, specs: Sequence[PoolerSpec], hidden_size: int,
                 has_bias: Callable[[HeadLayerSpec], bool]) -> None:
        super().__init__()
        self.by_task = {spec.task: Pooler(spec, hidden_size, has_bias) for spec in specs}
        for task, pooler in self.by_task.items():
            self.add_module(str(task), pooler)
        first, *_ = poolers = list(self.by_task.values())
        self.spec, self.score_type = first.spec, first.score_type
        self.tasks = frozenset().union(*(pooler.tasks for pooler in poolers))
        if {"embed", "token_classify"} <= self.tasks:
            self.tasks |= {EMBED_AND_TOKEN_CLASSIFY}
        self.embedding_size = first.embedding_size
        self.num_labels = max(pooler.num_labels for pooler in poolers)
        self.num_columns = max((pooler.num_columns for pooler in poolers if not pooler.num_labels), default=0)
        self.needs_whole_prompt = any(pooler.needs_whole_prompt for pooler in poolers)

    def forward(self, states: Tensor, params: PoolingParams, *, token_ids: Sequence[int],
                is_last: bool) -> Tensor | None:
        """As Pooler, of the task's own. Float32 [E + T * num_labels] for both tasks in one."""
        if params.task == EMBED_AND_TOKEN_CLASSIFY:
            parts = [self.by_task[task](states, replace(params, task=task), token_ids=token_ids, is_last=is_last)
                     for task in ("embed", "token_classify")]
            return torch.cat([part.flatten() for part in parts if part is not None]) if is_last else None
        return self.by_task[params.task](states, params, token_ids=token_ids, is_last=is_last)


def poolers_in(pooler: Pooler | TaskPoolers) -> dict[str, Pooler]:
    """{prefix of the homes' names: pooler}."""
    if isinstance(pooler, Pooler):
        return {"": pooler}
    return {f"{task}.": one for task, one in pooler.by_task.items()}


def make_pooler(specs: Sequence[PoolerSpec], hidden_size: int,
                has_bias: Callable[[HeadLayerSpec], bool]) -> Pooler | TaskPoolers:
    """The pooler of one spec, or of one for each task."""
    if len(specs) == 1:
        return Pooler(specs[0], hidden_size, has_bias)
    return TaskPoolers(specs, hidden_size, has_bias)

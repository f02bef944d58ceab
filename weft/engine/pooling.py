"""What the engine does for pooling sequences: it gives the pooler the states of each step's part of a prompt."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from weft.engine.process.messages import PoolingInfo
from weft.engine.process.wire_tensor import to_wire
from weft.engine.step_plan import Scheduled
from weft.engine.step_results import SequenceResult
from weft.models.engine_model import EngineModel, ModelPooler
from weft.pooling_params import TOKEN_TASKS

_NO_NUMBERS = "the model's states for this request are not numbers (NaN or infinity)"


def pooling_info(model: EngineModel) -> PoolingInfo:
    """What a pooling model's requests may ask for; nothing for a model that generates."""
    pooler = model.pooler
    if pooler is None:
        return PoolingInfo()
    return PoolingInfo(
        embedding_size=pooler.embedding_size, num_labels=pooler.num_labels, num_token_types=model.num_token_types,
        score_type=pooler.score_type, is_matryoshka=pooler.spec.is_matryoshka, dimensions=list(pooler.spec.dimensions),
        joins_pairs=pooler.spec.label_tokens is not None,
        num_columns=pooler.num_columns, pools_steps=pooler.spec.token_pooling == "step",
        normalizes=pooler.spec.normalize if pooler.spec.uses_act is None else pooler.spec.uses_act,
        reads_prefix_cache=model.shares_prefixes and not pooler.needs_whole_prompt)


class Pooling:
    """Pools the parts of prompts as steps compute them. It keeps tokens' rows until their prompt's end."""

    def __init__(self, pooler: ModelPooler) -> None:
        self._pooler = pooler
        self._rows: dict[str, dict[int, Tensor]] = {}      # request id -> {first token of a chunk: its rows}

    def pool(self, item: Scheduled, states: Tensor, result: SequenceResult) -> None:
        """Pool the states [T, E] of a sequence's part of a step. Only the part that ends the prompt has a result."""
        seq, is_last = item.seq, item.start + len(states) == item.seq.num_prompt_tokens
        pooled = self._pooler(states, seq.request.pooling, token_ids=seq.token_ids, is_last=is_last)
        if pooled is None:
            return
        if not pooled.isfinite().all():
            result.error = _NO_NUMBERS
            return
        if seq.request.pooling.task in TOKEN_TASKS:
            pooled = self._joined(seq.request_id, item.start, pooled, is_last=is_last)
        result.pooled = to_wire(pooled) if is_last else None

    def drop(self, request_ids: Iterable[str]) -> None:
        """These sequences have ended."""
        for request_id in request_ids:
            self._rows.pop(request_id, None)

    def _joined(self, request_id: str, start: int, rows: Tensor, *, is_last: bool) -> Tensor:
        """The rows so far. A sequence that goes back, after a preemption or a step that failed, computes them again."""
        if start == 0 and is_last:
            return rows
        before = {first: x for first, x in self._rows.get(request_id, {}).items() if first < start}
        self._rows[request_id] = before | {start: rows.clone()}
        return torch.cat(list(self._rows.pop(request_id).values())) if is_last else rows

"""From a StepPlan to a ForwardBatch: token ids, positions, cache slots and block tables packed into tensors."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from itertools import accumulate

import numpy as np
import torch

from weft.engine.memory import MemoryPlan
from weft.engine.scheduler import Scheduled, StepPlan
from weft.ops.attention import AttentionPlan, attention_plan
from weft.ops.batch import ForwardBatch


def step_inputs(plan: StepPlan, memory: MemoryPlan) -> tuple[ForwardBatch, list[int]]:
    """(the batch, the row of each scheduled sequence's last token)."""
    items = plan.scheduled
    query_lens = tuple(item.num_new_tokens for item in items)
    seq_lens = tuple(item.start + item.num_new_tokens for item in items)
    num_decodes = next((i for i, n in enumerate(query_lens) if n > 1), len(items))
    positions = _positions(items, num_decodes)
    token_ids = [item.seq.token_ids[item.start] for item in items[:num_decodes]]
    for item in items[num_decodes:]:
        token_ids += item.seq.token_ids[item.start : item.start + item.num_new_tokens]
    batch = ForwardBatch(
        input_ids=torch.tensor(token_ids), positions=torch.from_numpy(positions), query_lens=query_lens,
        attention=tuple(_group(group, items, query_lens, seq_lens, num_decodes, positions, memory)
                        for group in range(len(memory.groups))))
    return batch, [end - 1 for end in accumulate(query_lens)]


def _positions(items: Seq[Scheduled], num_decodes: int) -> np.ndarray:
    parts = [np.fromiter((item.start for item in items[:num_decodes]), dtype=np.int64, count=num_decodes)]
    parts += [np.arange(item.start, item.start + item.num_new_tokens) for item in items[num_decodes:]]
    return np.concatenate(parts)


def _group(group: int, items: Seq[Scheduled], query_lens: tuple[int, ...], seq_lens: tuple[int, ...], num_decodes: int,
           positions: np.ndarray, memory: MemoryPlan) -> AttentionPlan:
    size = memory.block_size
    table = np.full((len(items), max(-(-n // size) for n in seq_lens)), -1, dtype=np.int32)
    for row, item, length in zip(table, items, seq_lens, strict=True):
        count = -(-length // size)
        row[:count] = item.seq.block_ids[group][:count]
    rows = np.repeat(np.arange(len(items)), query_lens)
    slots = table[rows, positions // size] * size + positions % size
    return attention_plan(query_lens=query_lens, seq_lens=seq_lens, num_decodes=num_decodes, slots=slots, table=table,
                          window=memory.groups[group].window, block_size=size)

"""From a StepPlan to a Step: packs token ids, positions, cache slots and block tables into tensors."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from itertools import accumulate

import numpy as np
import torch

from weft.cache.groups import FREED, CacheGroup, EncoderGroup, FullGroup, StateGroup, WindowGroup
from weft.cache.masks import Bidirectional, Chunked
from weft.engine.media_rows import NO_MEDIA, StepMedia
from weft.engine.memory.plan import MemoryPlan
from weft.engine.process.wire_tensor import from_wire, rows_from_wire
from weft.engine.step_plan import Scheduled, StepPlan
from weft.ops.attention import AttentionPlan, attention_plan
from weft.ops.attention.ranges import KeyRanges, bidirectional, chunked, cross, spans
from weft.ops.scan_plan import ScanPlan
from weft.ops.step import CachePlan, RowEmbeds, Step


def step_inputs(step_plan: StepPlan, memory: MemoryPlan, media: StepMedia = NO_MEDIA) -> Step:
    """The model's input for `step_plan`, T tokens in the order of the scheduled sequences.

    media: what the step has besides because of media.

    `wanted_rows` are the rows to sample, in the same order.
    """
    items = step_plan.scheduled
    query_lens = tuple(item.num_new_tokens for item in items)
    seq_lens = tuple(item.start + item.num_new_tokens for item in items)
    num_decodes = next((i for i, n in enumerate(query_lens) if n > 1), len(items))
    places = _places(items, num_decodes)
    token_ids = [item.seq.token_ids[item.start] for item in items[:num_decodes]]
    for item in items[num_decodes:]:
        token_ids += item.seq.token_ids[item.start : item.start + item.num_new_tokens]
        token_ids += item.drafts
    ends, embeds, encoder_ids = accumulate(query_lens), _embeds(items), _encoder_ids(items)

    def plan(number: int, group: CacheGroup) -> CachePlan:
        match group:
            case StateGroup():
                return _states(number, items, query_lens)
            case EncoderGroup():
                return _cross(number, items, query_lens, num_decodes, memory.block_size)
            case _:
                return _attention(number, items, query_lens, seq_lens, num_decodes, places, memory, media.spans)

    input_ids = torch.tensor(token_ids)
    if embeds is not None:
        input_ids[embeds.rows] = 0      # a valid id for the lookup; the prompt's own embeddings replace the result
    return Step(
        input_ids=input_ids, embeds=media.embeds or embeds, token_types=_token_types(items),
        rope_positions=media.rope_positions, media=media.tensors,
        request_ids=tuple(item.seq.request_id for item in items),
        encoder_ids=encoder_ids, is_eager=bool(encoder_ids),
        positions=torch.from_numpy(places), query_lens=query_lens,
        wanted_rows=tuple(row for item, end in zip(items, ends, strict=True)
                          for row in range(end - item.num_rows, end)),
        caches=tuple(plan(number, group) for number, group in enumerate(memory.groups)))


def _embeds(items: Seq[Scheduled]) -> RowEmbeds | None:
    """The rows of this step whose embeddings come from `prompt_embeds`; None if there are none."""
    rows, values, first = [], [], 0
    for item in items:
        embeds, start = item.seq.request.prompt_embeds, item.start
        if embeds is not None and start < item.seq.num_prompt_tokens:
            part = rows_from_wire(embeds, start, start + item.num_new_tokens)
            rows.append(torch.arange(first, first + len(part)))
            values.append(part)
        first += item.num_new_tokens
    if not rows:
        return None
    return RowEmbeds(rows=torch.cat(rows), values=values[0] if len(values) == 1 else torch.cat(values))


def _token_types(items: Seq[Scheduled]) -> torch.Tensor | None:
    """[T] int64: each token's type; None if all are of type 0."""
    if not any(item.seq.request.token_type_ids for item in items):
        return None
    types: list[int] = []
    for item in items:
        own = item.seq.request.token_type_ids[item.start : item.start + item.num_new_tokens]
        types += own or [0] * item.num_new_tokens
    return torch.tensor(types)


def _encoder_ids(items: Seq[Scheduled]) -> dict[int, torch.Tensor]:
    """The encoder's tokens, or rows, of the sequences whose input this step has to encode, by their place in it."""
    requests = {place: item.seq.request for place, item in enumerate(items) if not item.seq.is_encoded}
    return {place: torch.tensor(request.encoder_token_ids) if request.encoder_rows is None
            else from_wire(request.encoder_rows) for place, request in requests.items()}


def trial_step(memory: MemoryPlan) -> Step:
    """A step for trying the model before any request: one sequence of two tokens with id 0, in each group's block 0.

    With `block_size` 1 the two tokens lie in blocks 0 and 1. An encoder's input is two tokens with id 0, too.
    """
    places, size = np.arange(2), memory.block_size
    table = np.array([[0] if size > 1 else [0, 1]], dtype=np.int32)
    ids, has_encoder = torch.zeros(2, dtype=torch.int64), any(isinstance(group, EncoderGroup)
                                                              for group in memory.groups)

    def plan(group: CacheGroup) -> CachePlan:
        if isinstance(group, StateGroup):
            return ScanPlan(query_lens=(2,), read_ids=(None,), write_ids=(0,))
        return attention_plan(query_lens=(2,), seq_lens=(2,), num_decodes=0, slots=places, table=table,
                              window=_window(group), block_size=size,
                              ranges=cross((2,), (2,)) if isinstance(group, EncoderGroup) else None)

    return Step(input_ids=ids, positions=torch.from_numpy(places), query_lens=(2,), wanted_rows=(0, 1),
                caches=tuple(map(plan, memory.groups)), encoder_ids={0: ids} if has_encoder else {},
                is_eager=has_encoder)


def _places(items: Seq[Scheduled], num_decodes: int) -> np.ndarray:
    """[T] int64: each token's position in its sequence."""
    parts = [np.fromiter((item.start for item in items[:num_decodes]), dtype=np.int64, count=num_decodes)]
    parts += [np.arange(item.start, item.start + item.num_new_tokens) for item in items[num_decodes:]]
    return np.concatenate(parts)


def _states(group: int, items: Seq[Scheduled], query_lens: tuple[int, ...]) -> ScanPlan:
    """The scan plan of a state group: the table of each sequence is (block to read, block to write)."""
    tables = [item.seq.block_ids[group] for item in items]
    return ScanPlan(query_lens=query_lens, read_ids=tuple(None if read == FREED else read for read, _ in tables),
                    write_ids=tuple(write for _, write in tables))


def _attention(group: int, items: Seq[Scheduled], query_lens: tuple[int, ...], seq_lens: tuple[int, ...],
               num_decodes: int, places: np.ndarray, memory: MemoryPlan,
               seq_spans: list[list[tuple[int, int]]] | None) -> AttentionPlan:
    """The attention plan of one cache group. seq_spans: of each sequence, tokens that see each other.

    query_lens, seq_lens: for each sequence, its tokens in this step and its tokens up to the step's end.
    places: [T] positions in the sequences.
    """
    size = memory.block_size
    table = _table(group, items, seq_lens, size)
    rows = np.repeat(np.arange(len(items)), query_lens)
    slots = table[rows, places // size] * size + places % size
    ranges = _ranges(memory.groups[group], query_lens, seq_lens, seq_spans)
    return attention_plan(query_lens=query_lens, seq_lens=seq_lens, num_decodes=num_decodes, slots=slots, table=table,
                          window=_window(memory.groups[group]) if ranges is None else None, block_size=size,
                          ranges=ranges)


def _cross(group: int, items: Seq[Scheduled], query_lens: tuple[int, ...], num_decodes: int,
           block_size: int) -> AttentionPlan:
    """The attention plan of an encoder group: a query sees all of its sequence's encoder tokens.

    The keys and values of inputs that are encoded in this step are written, in their order.
    """
    lens = tuple(item.seq.num_encoder_tokens for item in items)
    table = _table(group, items, lens, block_size)
    slots = [np.empty(0, dtype=np.int64)]
    for row, item, length in zip(table, items, lens, strict=True):
        if not item.seq.is_encoded:
            places = np.arange(length)
            slots.append(row[places // block_size].astype(np.int64) * block_size + places % block_size)
    return attention_plan(query_lens=query_lens, seq_lens=lens, num_decodes=num_decodes, slots=np.concatenate(slots),
                          table=table, block_size=block_size, ranges=cross(query_lens, lens))


def _table(group: int, items: Seq[Scheduled], lens: Seq[int], block_size: int) -> np.ndarray:
    """[S, M] int32: the blocks of each sequence's first `lens` tokens in a group; -1 behind them."""
    counts = [-(-length // block_size) for length in lens]
    table = np.full((len(items), max(counts)), -1, dtype=np.int32)
    for row, item, count in zip(table, items, counts, strict=True):
        row[:count] = item.seq.block_ids[group][:count]
    return table


def _ranges(group: CacheGroup, query_lens: tuple[int, ...], seq_lens: tuple[int, ...],
            seq_spans: list[list[tuple[int, int]]] | None) -> KeyRanges | None:
    """The keys that each query sees; None for causal masks, where the plan's `window` says enough."""
    match group:
        case FullGroup(mask=Bidirectional(radius=radius)):
            return bidirectional(query_lens, seq_lens, radius)
        case FullGroup(mask=Chunked(size=size)):
            return chunked(query_lens, seq_lens, size)
        case _:
            return None if seq_spans is None else spans(query_lens, seq_lens, seq_spans, _window(group))


def _window(group: CacheGroup) -> int | None:
    return group.window if isinstance(group, WindowGroup) else None

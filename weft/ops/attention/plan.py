"""`AttentionPlan`: what attention kernels read of a step, made once for all layers of a cache group.

Parts that only some kernels read are made lazily.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weft.errors import FieldError
from weft.ops.attention.pieces import Piece, make_pieces
from weft.ops.attention.ranges import KeyRanges, causal, sliding_window
from weft.ops.attention.shared_prefix import SharedPrefixes, shared_prefixes
from weft.ops.native import extension


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionPlan:
    """A step for one cache group.

    query_lens: S, queries of each sequence in this step.
    seq_lens: S, tokens of each sequence in the cache after this step; in cross attention the encoder's tokens.
    num_decodes: the first num_decodes sequences have one query each.
    slots: [N] int64, where new keys and values go: block * block_size + offset. N is T in self-attention, 0 where all
        keys are cached already, and the number of the encoder's new tokens where a cross-attention layer writes them.
    table: [S, M] int32, block ids of each sequence; -1 where it has no block.
    window: keys that a causal query sees, its own included; None for all.
    block_size: tokens of a block.
    ranges: the keys that each query sees (ranges.py); None for causal queries.
    rows_by_heads: results of slot_rows, kept for the other layers of the step.
    checked: block counts of the caches that check_attention has compared this plan with.
    """

    query_lens: tuple[int, ...]
    seq_lens: tuple[int, ...]
    num_decodes: int
    slots: np.ndarray
    table: np.ndarray
    window: int | None
    block_size: int
    ranges: KeyRanges | None = None
    rows_by_heads: dict[int, Tensor] = field(default_factory=dict, init=False)
    checked: set[int] = field(default_factory=set, init=False)

    @cached_property
    def num_queries(self) -> int:
        """T, queries of the step."""
        return sum(self.query_lens)

    def without_slots(self) -> AttentionPlan:
        """The same step for a call that writes no keys and values, because they are cached already."""
        return replace(self, slots=self.slots[:0])

    def without_queries(self) -> AttentionPlan:
        """For a call that writes keys and values to the slots, and attends to nothing."""
        return AttentionPlan(query_lens=(), seq_lens=(), num_decodes=0, slots=self.slots, table=self.table[:0],
                             window=None, block_size=self.block_size)

    # For kernels that are made of torch's operators.

    @cached_property
    def slot_mapping(self) -> Tensor:
        """`slots` as a tensor, [N] int64."""
        return torch.from_numpy(self.slots)

    @cached_property
    def block_table(self) -> Tensor:
        """`table` as a tensor, [S, M] int64."""
        return torch.from_numpy(self.table.astype(np.int64))

    @cached_property
    def fresh_blocks(self) -> Tensor:
        """[n] int64, blocks that this step starts and does not fill. They are zeroed first, because kernels read whole
        blocks: an earlier owner may have left NaN there, and a weight of 0 times NaN is NaN.
        """
        blocks, offsets = self.slots // self.block_size, self.slots % self.block_size
        return torch.from_numpy(np.setdiff1d(blocks[offsets == 0], blocks[offsets == self.block_size - 1]))

    @cached_property
    def key_ranges(self) -> KeyRanges:
        """The keys that each query sees, as arrays, also for causal plans and plans with a window."""
        if self.ranges is not None:
            return self.ranges
        if self.window is None:
            return causal(self.query_lens, self.seq_lens)
        return sliding_window(self.query_lens, self.seq_lens, self.window)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The step as batched calls."""
        return make_pieces(self.query_lens, self.seq_lens, self.num_decodes, self.block_table, self.slots,
                           self.key_ranges, self.block_size)

    @property
    def is_one_piece(self) -> bool:
        """True if the step is one piece that takes q as it is."""
        return len(self.pieces) == 1 and isinstance(self.pieces[0].rows, slice)

    def slot_rows(self, kv_heads: int) -> Tensor:
        """[N * Hkv]: rows of a cache viewed as [B * Hkv * P, R], in the order token, head."""
        if kv_heads not in self.rows_by_heads:
            blocks, offsets = self.slot_mapping // self.block_size, self.slot_mapping % self.block_size
            heads = blocks.unsqueeze(1) * kv_heads + torch.arange(kv_heads)
            self.rows_by_heads[kv_heads] = (heads * self.block_size + offsets.unsqueeze(1)).view(-1)
        return self.rows_by_heads[kv_heads]

    # For the native kernel.

    @cached_property
    def prefixes(self) -> SharedPrefixes:
        """Prefix groups: decodes that begin with the same blocks, which the native kernel reads once for a group."""
        decodes, num_seqs = slice(self.num_decodes), len(self.seq_lens)
        if self.ranges is None:
            lens = self.seq_lens[decodes] if self.window is None else [0] * self.num_decodes
        else:
            lens = np.where(self.ranges.first[decodes] == 0, self.ranges.end[decodes], 0)
        return shared_prefixes(self.table[decodes], lens, num_seqs)

    @cached_property
    def lengths(self) -> np.ndarray:
        """[2, S] int32: query_lens and seq_lens."""
        return np.array((self.query_lens, self.seq_lens), dtype=np.int32)

    @cached_property
    def native(self) -> Any:
        """The step for the native kernel; it points into this plan's arrays."""
        lengths, shared, ranges = self.lengths, self.prefixes, self.ranges
        return extension().attention_step(
            self.num_queries, len(self.seq_lens), len(self.slots), self.slots.ctypes.data, lengths.ctypes.data,
            lengths.ctypes.data + lengths.strides[0], self.table.ctypes.data, self.table.shape[1], self.window or 0,
            *((0, 0) if ranges is None else (ranges.first.ctypes.data, ranges.end.ctypes.data)), *shared.addresses)

    def assign(self, other: AttentionPlan) -> None:
        """Make kernel calls that were recorded with this plan read `other`, a plan with the same query_lens."""
        self.native.assign(other.native)


def attention_plan(*, query_lens: Sequence[int], seq_lens: Sequence[int], num_decodes: int, slots: np.ndarray,
                   table: np.ndarray, window: int | None = None, block_size: int,
                   ranges: KeyRanges | None = None) -> AttentionPlan:
    """The plan of a step; arguments as in AttentionPlan, arrays of any integer type.

    FieldError for a window beside ranges, and for ranges of another length or outside a sequence's keys.
    """
    plan = AttentionPlan(
        query_lens=tuple(query_lens), seq_lens=tuple(seq_lens), num_decodes=num_decodes,
        slots=np.ascontiguousarray(slots, dtype=np.int64), table=np.ascontiguousarray(table, dtype=np.int32),
        window=window, block_size=block_size,
        ranges=None if ranges is None else KeyRanges(*(np.ascontiguousarray(r, dtype=np.int32) for r in ranges)))
    if plan.ranges is not None:
        _check_ranges(plan, plan.ranges)
    return plan


def _check_ranges(plan: AttentionPlan, ranges: KeyRanges) -> None:
    first, end = ranges
    queries = plan.num_queries
    if plan.window is not None:
        raise FieldError("window", plan.window, expected="None beside ranges", hint="Put the window into the ranges.")
    if first.shape != (queries,) or end.shape != (queries,):
        raise FieldError("ranges", (first.shape, end.shape), expected=f"two arrays of {queries}, one number a query")
    lengths = np.repeat(np.asarray(plan.seq_lens, dtype=np.int32), plan.query_lens)
    wrong = np.flatnonzero((first < end) & ((first < 0) | (end > lengths)))
    if len(wrong):
        row = int(wrong[0])
        raise FieldError(f"ranges[{row}]", (int(first[row]), int(end[row])),
                         expected=f"keys within [0, {lengths[row]}), its sequence's tokens in the cache")

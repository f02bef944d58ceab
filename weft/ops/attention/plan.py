"""What the attention kernels read of a step, made once for all layers of a cache group; what few read, lazily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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

    query_lens: S, queries of each sequence in this step; seq_lens: S, its tokens in the cache after this step (in cross
    attention the encoder's, whatever the number of queries).
    num_decodes: so many sequences, the first ones, have one query each.
    slots: [N] int64, where new keys and values go: block * block_size + offset. N is T in self-attention, 0 where all
    keys are cached already, and an encoder's new tokens where a cross layer writes them.
    table: [S, M] int32, the sequences' blocks; -1 where there is none.
    window: tokens that a causal query sees, itself included; None for all.
    ranges: the keys that each query sees (ranges.py); None for causal queries.
    rows_by_heads: what slot_rows made, so that the layers of a step share it.
    checked: numbers of blocks of the caches that check_attention has compared the plan with.
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
        """T."""
        return sum(self.query_lens)

    # What kernels made of torch's operators read.

    @cached_property
    def slot_mapping(self) -> Tensor:
        """[N] int64."""
        return torch.from_numpy(self.slots)

    @cached_property
    def block_table(self) -> Tensor:
        """[S, M] int64."""
        return torch.from_numpy(self.table.astype(np.int64))

    @cached_property
    def fresh_blocks(self) -> Tensor:
        """[n] int64, blocks that this step starts and does not fill. They are zeroed first: a call reads whole blocks,
        and what an earlier owner left there could be NaN, which a weight of 0 does not undo.
        """
        blocks, offsets = self.slots // self.block_size, self.slots % self.block_size
        return torch.from_numpy(np.setdiff1d(blocks[offsets == 0], blocks[offsets == self.block_size - 1]))

    @cached_property
    def key_ranges(self) -> KeyRanges:
        """The keys that each query sees, also where the plan says it by causality and a window."""
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
        """The whole step is one call, on q as it is."""
        return len(self.pieces) == 1 and isinstance(self.pieces[0].rows, slice)

    def slot_rows(self, kv_heads: int) -> Tensor:
        """[N * Hkv]: rows of a cache seen as [B * Hkv * P, ...], in the order token, head."""
        if kv_heads not in self.rows_by_heads:
            blocks, offsets = self.slot_mapping // self.block_size, self.slot_mapping % self.block_size
            heads = blocks.unsqueeze(1) * kv_heads + torch.arange(kv_heads)
            self.rows_by_heads[kv_heads] = (heads * self.block_size + offsets.unsqueeze(1)).view(-1)
        return self.rows_by_heads[kv_heads]

    # What the native kernel reads.

    @cached_property
    def prefixes(self) -> SharedPrefixes:
        """Decodes that begin with the same blocks, which the native kernel reads once for all of them."""
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
        """The step as the native kernel reads it; its addresses are those of this plan's arrays."""
        lengths, shared, ranges = self.lengths, self.prefixes, self.ranges
        return extension().attention_step(
            self.num_queries, len(self.seq_lens), len(self.slots), self.slots.ctypes.data, lengths.ctypes.data,
            lengths.ctypes.data + lengths.strides[0], self.table.ctypes.data, self.table.shape[1], self.window or 0,
            *((0, 0) if ranges is None else (ranges.first.ctypes.data, ranges.end.ctypes.data)), *shared.addresses)

    def assign(self, other: AttentionPlan) -> None:
        """Make the native kernel read another plan of as many queries of each sequence where it read this one."""
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

"""What the attention kernels read of a step, made once for all layers of a cache group; what few read, lazily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weft.ops.attention.pieces import Piece, make_pieces
from weft.ops.attention.shared_prefix import SharedPrefixes, shared_prefixes
from weft.ops.native import extension


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionPlan:
    """A step for one cache group.

    query_lens: S, tokens of each sequence in this step; seq_lens: S, its tokens in the cache after this step.
    num_decodes: so many sequences, the first ones, have one query each.
    slots: [T] int64, where new keys and values go: block * block_size + offset.
    table: [S, M] int32, the sequences' blocks; -1 where there is none.
    rows_by_heads: what slot_rows made, so that the layers of a step share it.
    """

    query_lens: tuple[int, ...]
    seq_lens: tuple[int, ...]
    num_decodes: int
    slots: np.ndarray
    table: np.ndarray
    window: int | None
    block_size: int
    rows_by_heads: dict[int, Tensor] = field(default_factory=dict, init=False)

    # What kernels made of torch's operators read.

    @cached_property
    def slot_mapping(self) -> Tensor:
        """[T] int64."""
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
        size, fresh = self.block_size, []
        for row, new, length in zip(self.table, self.query_lens, self.seq_lens, strict=True):
            last = -(-length // size) - 1
            if length - new <= last * size:
                fresh.append(int(row[last]))
        return torch.tensor(fresh, dtype=torch.int64)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The step as batched calls."""
        return make_pieces(self.query_lens, self.seq_lens, self.num_decodes, self.block_table, self.window,
                           self.block_size)

    @property
    def is_one_piece(self) -> bool:
        """The whole step is one call, on q as it is."""
        return len(self.pieces) == 1 and isinstance(self.pieces[0].rows, slice)

    def slot_rows(self, kv_heads: int) -> Tensor:
        """[T * Hkv]: rows of a cache seen as [B * Hkv * P, ...], in the order token, head."""
        if kv_heads not in self.rows_by_heads:
            blocks, offsets = self.slot_mapping // self.block_size, self.slot_mapping % self.block_size
            heads = blocks.unsqueeze(1) * kv_heads + torch.arange(kv_heads)
            self.rows_by_heads[kv_heads] = (heads * self.block_size + offsets.unsqueeze(1)).view(-1)
        return self.rows_by_heads[kv_heads]

    # What the native kernel reads.

    @cached_property
    def prefixes(self) -> SharedPrefixes:
        """Decodes that begin with the same blocks, which the native kernel reads once for all of them."""
        return shared_prefixes(self.table[: self.num_decodes], self.seq_lens[: self.num_decodes], self.window,
                               len(self.seq_lens))

    @cached_property
    def lengths(self) -> np.ndarray:
        """[2, S] int32: query_lens and seq_lens."""
        return np.array((self.query_lens, self.seq_lens), dtype=np.int32)

    @cached_property
    def native(self) -> Any:
        """The step as the native kernel reads it; its addresses are those of this plan's arrays."""
        lengths, shared = self.lengths, self.prefixes
        return extension().attention_step(
            len(self.slots), len(self.seq_lens), self.slots.ctypes.data, lengths.ctypes.data,
            lengths.ctypes.data + lengths.strides[0], self.table.ctypes.data, self.table.shape[1], self.window or 0,
            *shared.addresses)

    def assign(self, other: AttentionPlan) -> None:
        """Make the native kernel read another plan of as many queries of each sequence where it read this one."""
        self.native.assign(other.native)


def attention_plan(*, query_lens: Sequence[int], seq_lens: Sequence[int], num_decodes: int, slots: np.ndarray,
                   table: np.ndarray, window: int | None, block_size: int) -> AttentionPlan:
    """The plan of a step; arguments as in AttentionPlan, arrays of any integer type."""
    return AttentionPlan(
        query_lens=tuple(query_lens), seq_lens=tuple(seq_lens), num_decodes=num_decodes,
        slots=np.ascontiguousarray(slots, dtype=np.int64), table=np.ascontiguousarray(table, dtype=np.int32),
        window=window, block_size=block_size)

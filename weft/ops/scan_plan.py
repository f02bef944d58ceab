"""`ScanPlan`: each sequence's rows in a step, and the states that it reads and writes, for operators that carry a state
along each sequence (the causal convolution, the gated delta rule, Mamba).

A sequence reads one state and may write another, so that a step can be run again after a failure, a prefix's state can
be kept as a snapshot, and several sequences can continue from one state. The module knows no kernel and no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weft.ops.native import extension


@dataclass(frozen=True, eq=False, kw_only=True)
class ScanPlan:
    """A step for all layers that share their state ids; made once a step.

    query_lens: S, rows of each sequence, packed one after another.
    read_ids: S, the id of the state before each sequence's first row; None where the sequence begins: its state is
        zeros. Several sequences may read one state.
    write_ids: S, the id of the state after each sequence's last row; all different, and no sequence reads an id that
        another one writes. A sequence may write the id that it reads: its state then advances in place.
    ValueError for ids that break these rules.
    """

    query_lens: tuple[int, ...]
    read_ids: tuple[int | None, ...]
    write_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        counts = len(self.query_lens), len(self.read_ids), len(self.write_ids)
        if len(set(counts)) > 1 or len(set(self.write_ids)) < len(self.write_ids):
            raise ValueError(f"read_ids = {list(self.read_ids)}, write_ids = {list(self.write_ids)}: expected one of "
                             f"each for each of {counts[0]} sequences, no two write_ids the same")
        targets = set(self.write_ids)
        foreign = (read for read, write in zip(self.read_ids, self.write_ids, strict=True) if read != write)
        if any(read in targets for read in foreign):
            raise ValueError(f"read_ids = {list(self.read_ids)}, write_ids = {list(self.write_ids)}: expected no state "
                             "that one sequence writes and another one reads")

    @cached_property
    def num_tokens(self) -> int:
        """T, rows of the step."""
        return sum(self.query_lens)

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """starts [S + 1], read_ids [S] (-1 for None), write_ids [S]: int64, for the native kernels."""
        starts, reads = [0, *accumulate(self.query_lens)], [-1 if read is None else read for read in self.read_ids]
        return np.array(starts, np.int64), np.array(reads, np.int64), np.array(self.write_ids, np.int64)

    @cached_property
    def native(self) -> Any:
        """The step for the native kernels; it points into this plan's arrays."""
        return extension().scan_step(len(self.query_lens), *(ids.ctypes.data for ids in self.arrays))

    def assign(self, other: ScanPlan) -> None:
        """Make kernel calls that were recorded with this plan read `other`, which must live until they have run."""
        self.native.assign(other.native)

    def sequences(self) -> Iterator[tuple[slice, int | None, int]]:
        """Yield (rows, id of the state before them, id of the state after them) for each sequence."""
        start = 0
        for length, read, write in zip(self.query_lens, self.read_ids, self.write_ids, strict=True):
            yield slice(start, start + length), read, write
            start += length

    def check(self, rows: int, states: Tensor) -> None:
        """ValueError unless the step has `rows` rows and `states` [B, ...] holds every state of the plan."""
        if rows != self.num_tokens:
            raise ValueError(f"{rows} rows, the sequences have {self.num_tokens}")
        least, most = self._extremes
        if least < 0 or most >= len(states):
            raise ValueError(f"read_ids = {list(self.read_ids)}, write_ids = {list(self.write_ids)}: there are "
                             f"{len(states)} states")

    @cached_property
    def _extremes(self) -> tuple[int, int]:
        """The smallest and the largest id; (0, -1) without sequences."""
        ids = [*self.write_ids, *(read for read in self.read_ids if read is not None)]
        return min(ids, default=0), max(ids, default=-1)


def state_before(states: Tensor, read_id: int | None) -> Tensor:
    """The state that a reference kernel begins with: a copy of states[read_id], states [B, ...]; zeros for None."""
    return torch.zeros_like(states[0]) if read_id is None else states[read_id].clone()


def result_memory(x: Tensor, out: Tensor | None, *, by_row: bool = False) -> Tensor:
    """`out`, or new memory of x's shape and dtype. ValueError unless `out` is contiguous (by_row: each row of it is)
    and like x.
    """
    if out is None:
        return torch.empty(x.shape, dtype=x.dtype)
    fits = out.stride(-1) == 1 if by_row else out.is_contiguous()
    if out.shape != x.shape or out.dtype != x.dtype or not fits:
        raise ValueError(f"out: {out.dtype} {list(out.shape)}, expected contiguous {x.dtype} {list(x.shape)}")
    return out

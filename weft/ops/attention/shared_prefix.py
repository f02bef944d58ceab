"""Prefix groups: decodes of a step that begin with the same blocks, whose keys the kernel reads once for the group.

Sequences share blocks when they found the same cached prefix. The module looks at block tables only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPAN_BLOCKS, BLOCK_SIZE = 4, 16        # blocks of a span, which the native kernel reads at once; tokens of a block


@dataclass(frozen=True, slots=True, eq=False)
class SharedPrefixes:
    """Prefix groups; a sequence is in at most one.

    starts: [G + 1] int32, where each group begins in `members`. members: int32, indices of sequences.
    spans: [G] int32, whole spans that a group shares. shared: [S] int32, `spans` of each sequence's group, or 0.
    """

    starts: np.ndarray
    members: np.ndarray
    spans: np.ndarray
    shared: np.ndarray

    @property
    def addresses(self) -> tuple[int, ...]:
        """Arguments for the native kernel: the number of groups and the arrays' addresses; empty without groups."""
        if not len(self.spans):
            return ()
        return (len(self.spans), self.starts.ctypes.data, self.members.ctypes.data, self.spans.ctypes.data,
                self.shared.ctypes.data)


def shared_prefixes(table: np.ndarray, num_seen: Sequence[int] | np.ndarray, num_seqs: int) -> SharedPrefixes:
    """The prefix groups of a step of num_seqs sequences.

    table: [n, M], block ids of the first n sequences, which have one query each.
    num_seen: n, how many keys from the first one on each query sees without a gap; 0 for a query that does not see the
        first key, such as one with a window. A sequence with 0 is in no group.
    """
    groups: list[tuple[np.ndarray, int]] = []
    if len(table) > 1 and table.shape[1] > SPAN_BLOCKS:
        seen = np.asarray(num_seen)
        rows = np.flatnonzero(seen > SPAN_BLOCKS * BLOCK_SIZE)
        for members in _by_block(table, rows, 0) if len(rows) > 1 else ():
            groups += _best(table, seen, members, 0)[1]
    shared = np.zeros(num_seqs, dtype=np.int32)
    for members, spans in groups:
        shared[members] = spans
    return SharedPrefixes(
        np.cumsum([0] + [len(members) for members, _ in groups], dtype=np.int32),
        np.concatenate([members for members, _ in groups] or [np.empty(0)]).astype(np.int32),
        np.array([spans for _, spans in groups], dtype=np.int32), shared)


def _by_block(table: np.ndarray, rows: np.ndarray, column: int) -> list[np.ndarray]:
    """`rows`, parted into those with the same block in a column; only parts of two rows or more."""
    ids, inverse, counts = np.unique(table[rows, column], return_inverse=True, return_counts=True)
    return [rows[inverse == i] for i in np.flatnonzero(counts > 1) if ids[i] >= 0]


def _best(table: np.ndarray, num_seen: np.ndarray, rows: np.ndarray, column: int) -> tuple[int, list]:
    """(spans that need not be read again, groups) of rows that share the blocks up to `column`, itself included.

    The rows form one group as far as all of them share blocks, or the smaller groups into which they part after that
    point, whichever saves more.
    """
    equal = (table[rows] == table[rows[0]]).all(axis=0) & (table[rows[0]] >= 0)
    end = len(equal) if equal.all() else int(np.argmin(equal))
    spans = min(end, int((num_seen[rows].min() - 1) // BLOCK_SIZE)) // SPAN_BLOCKS
    saved, groups = (len(rows) - 1) * spans, [(rows, spans)] if spans else []
    if end < len(equal) and len(rows) > 2:
        parts = [_best(table, num_seen, part, end) for part in _by_block(table, rows, end)]
        if sum(part[0] for part in parts) > saved:
            return sum(part[0] for part in parts), [group for part in parts for group in part[1]]
    return saved, groups

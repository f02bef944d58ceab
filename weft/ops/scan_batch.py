"""`ScanBatch`: which rows of a step are whose, for operators that carry a state along each sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor


class ScanBatch:
    """Made once for all layers of a step.

    query_lens: S, rows of each sequence, packed one after another. state_ids: S, the number of each sequence's state,
    no two the same. A sequence that begins has zeros there: whoever hands the state out sees to that.
    starts: [S + 1], states: [S], both int64, the same as tensors.
    """

    def __init__(self, query_lens: Sequence[int], state_ids: Sequence[int]) -> None:
        if len(query_lens) != len(state_ids) or len(set(state_ids)) != len(state_ids):
            raise ValueError(f"state_ids = {list(state_ids)}: expected one for each of {len(query_lens)} sequences, "
                             "no two the same")
        self.query_lens, self.state_ids = tuple(query_lens), tuple(state_ids)
        self.starts = torch.tensor([0, *accumulate(query_lens)], dtype=torch.int64)
        self.states = torch.tensor(state_ids, dtype=torch.int64)
        self.num_tokens, self.num_seqs = sum(query_lens), len(query_lens)
        self.addresses = self.starts.data_ptr(), self.states.data_ptr(), self.num_seqs

    def sequences(self) -> Iterator[tuple[slice, int]]:
        """(rows, number of the state) of each."""
        start = 0
        for length, state in zip(self.query_lens, self.state_ids, strict=True):
            yield slice(start, start + length), state
            start += length

    def check(self, rows: int, states: Tensor) -> None:
        """ValueError unless the step has so many rows and `states` holds every state."""
        if rows != self.num_tokens:
            raise ValueError(f"{rows} rows, the sequences have {self.num_tokens}")
        if self.num_seqs and not 0 <= min(self.state_ids) <= max(self.state_ids) < len(states):
            raise ValueError(f"state_ids = {list(self.state_ids)}: there are {len(states)} states")

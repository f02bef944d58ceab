"""`StepPlan`: which sequences get how many tokens in a step. Made by the scheduler, carried out by the runner.

Knows no block and no limit.
"""

from __future__ import annotations

from typing import NamedTuple

from weft.engine.sequence import Sequence


class Scheduled(NamedTuple):
    """A sequence's part of a step: positions `start` to `start + num_new_tokens` - 1 (a tuple because it is cheap).

    num_rows: rows that are sampled, the last ones: 0 unless the last known token is among the new ones, and 0 of a
        pooling sequence; else one for that token and one after each draft.
    drafts: tokens assumed to follow the known ones; they count among the new tokens.
    """

    seq: Sequence
    num_new_tokens: int
    start: int
    num_rows: int
    drafts: tuple[int, ...] = ()

    def num_kept(self, num_sampled: int) -> int:
        """New tokens that stay computed when the step gave `num_sampled` tokens: each but the last was a draft."""
        return self.num_new_tokens - max(0, len(self.drafts) - max(0, num_sampled - 1))


class StepPlan(NamedTuple):
    """One step. Sequences with one new token and one row (decodes) come first, then those with drafts."""

    scheduled: tuple[Scheduled, ...]
    preempted: tuple[Sequence, ...]
    num_tokens: int


class OpenPlan:
    """A plan in the making: the tokens that are left to give, and who got some."""

    def __init__(self, budget: int) -> None:
        self.budget = self._max_tokens = budget
        self.decodes: list[Scheduled] = []
        self.drafted: list[Scheduled] = []
        self.chunks: list[Scheduled] = []
        self.preempted: list[Sequence] = []

    def give(self, seq: Sequence, num_tokens: int) -> None:
        start = seq.num_computed_tokens
        num_rows = int(start + num_tokens == len(seq.token_ids) and not seq.is_pooling)
        parts = self.decodes if num_rows and num_tokens == 1 else self.chunks
        parts.append(Scheduled(seq, num_tokens, start, num_rows))
        self.budget -= num_tokens

    def take_back(self, seq: Sequence) -> None:
        """A sequence is preempted. Only a decode, and of these the last, can have its part of the step by then."""
        if self.decodes and self.decodes[-1].seq is seq:
            self.decodes.pop()
            self.budget += 1
        self.preempted.append(seq)

    def close(self) -> StepPlan:
        scheduled = (*self.decodes, *self.drafted, *self.chunks)
        return StepPlan(scheduled, tuple(self.preempted), self._max_tokens - self.budget)

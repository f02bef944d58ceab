"""`StepPlan`: the sequences of a step and the number of tokens of each. The scheduler makes it, the runner executes it.

A plan knows no block and no limit.
"""

from __future__ import annotations

from typing import NamedTuple

from weft.engine.sequence import Sequence


class Scheduled(NamedTuple):
    """One sequence's part of a step: positions `start` to `start + num_new_tokens` - 1. A tuple, as tuples are cheap.

    num_rows: the last `num_rows` rows are sampled. 0 if this part ends before the last known token, or for a pooling
        sequence; otherwise 1 + the number of drafts.
    drafts: speculated tokens after the known ones; `num_new_tokens` includes them.
    """

    seq: Sequence
    num_new_tokens: int
    start: int
    num_rows: int
    drafts: tuple[int, ...] = ()

    def num_kept(self, num_sampled: int) -> int:
        """New tokens that stay in the cache after the step gave `num_sampled` tokens; rejected drafts do not stay.

        Every sampled token but the last one equals a draft.
        """
        return self.num_new_tokens - max(0, len(self.drafts) - max(0, num_sampled - 1))


class StepPlan(NamedTuple):
    """One step. Sequences with one new token and one sampled row (decodes) come first, then sequences with drafts, then
    prefill chunks. num_tokens: new tokens of all sequences together. started: the sequences that begin with this step,
    or again after a preemption. dropped_media: digests of the items whose rows are no longer kept."""

    scheduled: tuple[Scheduled, ...]
    preempted: tuple[Sequence, ...]
    num_tokens: int
    started: tuple[Sequence, ...] = ()
    dropped_media: tuple[bytes, ...] = ()


class OpenPlan:
    """A plan under construction.

    budget: tokens that the step can still take. encoder_budget: tokens of encoders' inputs that it can still take.
    media_rows: rows of media items that the step's encoder makes. dropped_media: as StepPlan.
    """

    def __init__(self, budget: int) -> None:
        self.budget = self.encoder_budget = self._max_tokens = budget
        self.decodes: list[Scheduled] = []
        self.drafted: list[Scheduled] = []
        self.chunks: list[Scheduled] = []
        self.preempted: list[Sequence] = []
        self.started: list[Sequence] = []
        self.media_rows = 0
        self.dropped_media: list[bytes] = []

    def give(self, seq: Sequence, num_tokens: int) -> None:
        start = seq.num_computed_tokens
        num_rows = int(start + num_tokens == len(seq.token_ids) and not seq.is_pooling)
        parts = self.decodes if num_rows and num_tokens == 1 else self.chunks
        parts.append(Scheduled(seq, num_tokens, start, num_rows))
        self.budget -= num_tokens

    def starts(self, num_encoder_tokens: int) -> bool:
        """Takes the encoder's input of a sequence that is to start. False if the inputs before leave too little room:
        the first one of a step may have any length.
        """
        is_first = self.encoder_budget == self._max_tokens
        if num_encoder_tokens > self.encoder_budget and not is_first:
            return False
        self.encoder_budget -= num_encoder_tokens
        return True

    def take_back(self, seq: Sequence) -> None:
        """Removes a preempted sequence from the plan.

        The preempted sequence is the last running one. If it has a part of this step, that part is the last decode.
        """
        if self.decodes and self.decodes[-1].seq is seq:
            self.decodes.pop()
            self.budget += 1
        self.preempted.append(seq)

    def close(self) -> StepPlan:
        scheduled = (*self.decodes, *self.drafted, *self.chunks)
        return StepPlan(scheduled, tuple(self.preempted), self._max_tokens - self.budget, tuple(self.started),
                        tuple(self.dropped_media))

"""`ForwardBatch`: everything one forward pass reads besides weights and caches. Built by the runner, stored nowhere."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from weft.ops.attention import AttentionPlan


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ForwardBatch:
    """One step. Sequences are packed one after another; those with one new token (decode) come first.

    input_ids, positions: [T] int64.
    query_lens: S, tokens of each sequence in this step; seq_lens: S, its tokens in the cache after this step.
    attention: what each cache group's layers read, by the group's number.
    """

    input_ids: Tensor
    positions: Tensor
    query_lens: tuple[int, ...]
    seq_lens: tuple[int, ...]
    attention: tuple[AttentionPlan, ...]

    @property
    def num_tokens(self) -> int:
        """T."""
        return self.input_ids.shape[0]

"""`ForwardBatch`: everything one forward pass reads besides weights and caches. `engine/step_inputs.py` builds it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from weft.ops.attention import AttentionPlan


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ForwardBatch:
    """One step. Sequences are packed one after another; those with one new token (decode) come first.

    input_ids, positions: [T] int64.
    query_lens: S, tokens of each sequence in this step.
    attention: what each cache group's layers read, by the group's number.
    """

    input_ids: Tensor
    positions: Tensor
    query_lens: tuple[int, ...]
    attention: tuple[AttentionPlan, ...]

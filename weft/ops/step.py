"""`Step`: everything one forward pass reads besides weights and caches, passed from the runner down to every layer.

`engine/step_inputs.py` builds it. Nothing of it is kept in a global: a layer has what its forward is given.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weft.ops.attention import AttentionPlan
from weft.ops.scan_plan import ScanPlan

MAX_RECORDED_ROWS = 64         # rows; a longer step takes long enough to hide Python
_MAX_RECORDED_QUERIES = 16     # rows of one sequence; a sequence with more is in prefill, whose length hardly repeats

CachePlan = AttentionPlan | ScanPlan


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RowEmbeds:
    """Hidden states that stand in for looked-up embeddings (prompt embeddings, media).

    rows: [n] int64, rows of the step. values: [n, E], what the model's `embed_input_ids` (in Transformers the module of
    `get_input_embeddings`) would have returned there: what follows the lookup, as adding positions, is still to come.
    """

    rows: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Step:
    """One step. Sequences are packed one after another; those with one new token (decode) come first.

    input_ids: [T] int64, any id in the rows of `embeds`. query_lens: S, tokens of each sequence in this step.
    positions: [T] int64, what rotary and learned positions see; a token's place in its cache is the plans' business.
    wanted_rows: the rows whose hidden states go on to the head.
    caches: what each cache group's layers read, by the group's number.
    embeds: None when every row is looked up.
    taps: [T, E] by block number, in the model's dtype, filled with what goes into that block; the number of blocks
        names what comes out of the last one, before the final norm. Described models fill them, recorded or not.
    """

    input_ids: Tensor
    positions: Tensor
    query_lens: tuple[int, ...]
    wanted_rows: tuple[int, ...] = ()
    caches: tuple[CachePlan, ...] = ()
    embeds: RowEmbeds | None = None
    taps: dict[int, Tensor] | None = None

    @property
    def shape_key(self) -> Hashable | None:
        """Steps with equal keys make the same native calls. None: not worth a recording, or not possible."""
        lens = self.query_lens
        if len(self.input_ids) > MAX_RECORDED_ROWS or max(lens) > _MAX_RECORDED_QUERIES:
            return None
        return (lens, tuple(self.taps)) if self.taps else lens

    def assign(self, other: Step) -> None:
        """Take over what layers read of another step with the same `shape_key`, in this step's own memory."""
        for mine, plan in zip(self.caches, other.caches, strict=True):
            if isinstance(mine, AttentionPlan) and isinstance(plan, AttentionPlan):
                mine.assign(plan)
            else:
                assert isinstance(mine, ScanPlan) and isinstance(plan, ScanPlan), "steps of one model have equal groups"
                mine.assign(plan)

    def with_own_taps(self) -> Step:
        """This step with other memory for its taps: a recording's, which replays overwrite."""
        return replace(self, taps={block: torch.empty_like(x) for block, x in self.taps.items()}) if self.taps else self

    def take_taps(self, other: Step) -> None:
        """Copy the taps of another step with the same `shape_key`; nothing to do where both have the same memory."""
        for block, x in (self.taps or {}).items():
            x.copy_((other.taps or {})[block])


def empty_taps(blocks: tuple[int, ...], num_tokens: int, hidden_size: int, dtype: torch.dtype) -> dict[int, Tensor]:
    """Memory for the taps of a step of num_tokens rows, with any content."""
    return {block: torch.empty(num_tokens, hidden_size, dtype=dtype) for block in blocks}

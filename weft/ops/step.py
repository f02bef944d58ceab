"""`Step`: the inputs of one forward pass besides weights and caches, passed from the runner down to every layer.

`engine/step_inputs.py` builds it. No global holds any of it: a layer sees only what its forward is given.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from weft.ops.attention import AttentionPlan
from weft.ops.scan_plan import ScanPlan

MAX_RECORDED_ROWS = 64         # rows of a step that is recorded; a longer step takes long enough to hide Python
_MAX_RECORDED_QUERIES = 16     # rows of one of its sequences; longer ones are in prefill, whose lengths hardly repeat

CachePlan = AttentionPlan | ScanPlan


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RowEmbeds:
    """Hidden states that replace looked-up embeddings (prompt embeddings, media).

    rows: [n] int64, rows of the step that are replaced.
    values: [n, E], in place of the result of the model's `embed_input_ids` (in Transformers of `get_input_embeddings`).
        What the model does after the lookup, such as adding positions, is still applied to them.
    deeper: [n, E] each, what the first layers add to these rows after their own work (DeepStack, arXiv:2406.04334).
    """

    rows: Tensor
    values: Tensor
    deeper: tuple[Tensor, ...] = ()


class PromptTensors(NamedTuple):
    """Media of a prompt for a model that merges them itself. tensors: the encoder's arguments by name, of all items."""

    tensors: Mapping[str, Tensor]
    num_prompt_tokens: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Step:
    """One step. Sequences are packed one after another; those with one new token (decode) come first.

    input_ids: [T] int64; the ids in the rows of `embeds` are not used.
    positions: [T] int64, for rotary and learned positions; a token's place in its cache is in the plans (`caches`).
    query_lens: S, tokens of each sequence in this step.
    wanted_rows: the rows whose hidden states go to the head.
    caches: the plan that the layers of each cache group read, by the group's number.
    rope_positions: [C, T] int64, what C channels of rotary positions turn by (M-RoPE, arXiv:2409.12191); None: all turn
        by `positions`.
    media: {place of a sequence in this step: its media}, for each sequence whose first tokens are in this step, if the
        model runs unmodified and merges media itself.
    embeds: hidden states that replace looked-up ones; None when every row is looked up.
    token_types: [T] int64, for models with a table of token types (BERT's segments); None: all are of type 0.
    request_ids: S, the request of each sequence, for models that keep caches of their own; () where there is none.
    encoder_ids: {place of a sequence in this step: [n] int64, the tokens of its encoder's input; or [n, W], rows of
        audio in their place}, for each sequence that starts (or starts again) in this step and whose input is not in
        the cache. Later steps of the sequence bring no encoder tokens: the model, or the cache of its cross attention,
        keeps what was made of them until the sequence ends or is preempted (`EngineModel.end_sequences`).
    taps: {block number: [T, E] in the model's dtype}, filled with the hidden states that enter that block. The key
        num_blocks stands for the output of the last block, before the final norm. Described models fill the taps,
        whether a step is recorded or not.
    is_eager: the step is neither recorded nor made again from a recording, because Python code must run in it.
    """

    input_ids: Tensor
    positions: Tensor
    query_lens: tuple[int, ...]
    wanted_rows: tuple[int, ...] = ()
    caches: tuple[CachePlan, ...] = ()
    embeds: RowEmbeds | None = None
    rope_positions: Tensor | None = None
    media: Mapping[int, PromptTensors] = field(default_factory=dict)
    token_types: Tensor | None = None
    request_ids: tuple[str, ...] = ()
    encoder_ids: Mapping[int, Tensor] = field(default_factory=dict)
    taps: dict[int, Tensor] | None = None
    is_eager: bool = False

    @property
    def shape_key(self) -> Hashable | None:
        """Steps with equal keys make the same native calls, so one recording (graph capture) serves them all.

        None: the step is not recorded.
        """
        lens = self.query_lens
        if self.is_eager or len(self.input_ids) > MAX_RECORDED_ROWS or max(lens) > _MAX_RECORDED_QUERIES:
            return None
        return (lens, tuple(self.taps)) if self.taps else lens

    def types_of(self, first: int, count: int) -> Tensor | None:
        """The token types of `count` rows from `first` on; None if all of the step are of type 0."""
        return None if self.token_types is None else self.token_types[first : first + count]

    def assign(self, other: Step) -> None:
        """Make the recorded calls of this step read the cache plans of `other`, a step with the same `shape_key`."""
        for mine, plan in zip(self.caches, other.caches, strict=True):
            if isinstance(mine, AttentionPlan) and isinstance(plan, AttentionPlan):
                mine.assign(plan)
            else:
                assert isinstance(mine, ScanPlan) and isinstance(plan, ScanPlan), "steps of one model have equal groups"
                mine.assign(plan)

    def with_own_taps(self) -> Step:
        """This step with new memory for its taps: a recording keeps that memory, and replays overwrite it."""
        return replace(self, taps={block: torch.empty_like(x) for block, x in self.taps.items()}) if self.taps else self

    def take_taps(self, other: Step) -> None:
        """Copy the taps of `other`, a step with the same `shape_key`, into this step's."""
        for block, x in (self.taps or {}).items():
            x.copy_((other.taps or {})[block])

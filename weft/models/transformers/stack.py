"""`FusedStack`: weft's Blocks in the place of a model's decoder layers; short steps are recorded and replayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from weft.layers.calls import Watch
from weft.layers.context import LayerContext
from weft.layers.public.layer import StepRef
from weft.models.decoder import Block
from weft.models.replay import Inputs, StepReplay
from weft.ops.step import Step


class FusedStack(nn.Module):
    """All decoder layers as one. returns_tuple: the layers that it replaces return tuples."""

    def __init__(self, blocks: Sequence[Block], step: StepRef, context: LayerContext, *, returns_tuple: bool) -> None:
        super().__init__()
        self.blocks, self._step, self._returns_tuple = nn.ModuleList(blocks), step, returns_tuple
        watch = Watch(module for block in blocks for module in block.modules())
        self.steps = StepReplay(context.isa, context.device, context.scratch, watch)

    def forward(self, hidden_states: Tensor, *args: Any, position_embeddings: tuple[Tensor, Tensor],
                **keywords: Any) -> Tensor | tuple[Tensor]:
        """[1, T, E] -> [1, T, E]. position_embeddings: cos and sin [1, T, R], each half of R alike."""
        step = self._step.current(self)
        cos, sin = (x[0, :, : x.shape[-1] // 2].float().contiguous() for x in position_embeddings)
        out = self.steps.run([hidden_states[0].clone(), cos, sin], step, self._run).unsqueeze(0)
        return (out,) if self._returns_tuple else out

    def _run(self, inputs: Inputs, step: Step) -> Tensor:
        hidden, cos, sin = inputs
        for block in cast("Any", self.blocks):
            hidden = block(hidden, step, (cos, sin))
        return hidden

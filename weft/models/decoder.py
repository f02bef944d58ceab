"""`Decoder`: the one module that runs any DecoderSpec."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weft.architectures.spec import BlockSpec, DecoderSpec, MLASpec, MoESpec, Rope
from weft.layers.attention import SelfAttention
from weft.layers.context import LayerContext
from weft.layers.embedding import Embedding, Head
from weft.layers.layer import Layer
from weft.layers.mla import MLA
from weft.layers.mlp import MLP, MoE
from weft.layers.norm import optional_norm
from weft.layers.paged_attention import PagedAttention
from weft.layers.rope import RotaryPositions
from weft.models.replay import Angles, StepReplay
from weft.ops.step import Step, embed_rows, tap


class Block(Layer):
    """A BlockSpec with its weights: mixer and feed-forward part around the residual stream."""

    def __init__(self, spec: BlockSpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        self.spec = spec
        mixer = MLA if isinstance(spec.mixer, MLASpec) else SelfAttention
        self.mixer = mixer(spec.mixer, hidden_size, context=context)
        self.ffn = (MoE if isinstance(spec.ffn, MoESpec) else MLP)(spec.ffn, hidden_size, context=context)
        self.mixer_norm = optional_norm(spec.mixer_norm, hidden_size, context=context, role="mixer_norm")
        self.ffn_norm = optional_norm(spec.ffn_norm, hidden_size, context=context, role="ffn_norm")
        self.mixer_post_norm = optional_norm(spec.mixer_post_norm, hidden_size, context=context)
        self.ffn_post_norm = optional_norm(spec.ffn_post_norm, hidden_size, context=context)

    def forward(self, hidden: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        """[T, E] -> [T, E]; `hidden` itself is changed and returned."""
        if self.spec.parallel:
            return self._parallel(hidden, step, angles)
        if self.spec.post_residual:
            hidden = self.mixer_norm(self.mixer(hidden, step, angles, hidden))
            return self.ffn_norm(self.ffn(hidden, hidden))
        alpha = self.spec.residual_scale
        if self.mixer_post_norm is None:
            self.mixer(_norm(self.mixer_norm, hidden), step, angles, hidden, alpha)
        else:
            mixed = self.mixer(_norm(self.mixer_norm, hidden), step, angles)
            self.mixer_post_norm(mixed, hidden, alpha)
        if self.ffn_post_norm is None:
            return self.ffn(_norm(self.ffn_norm, hidden), hidden, alpha)
        return self.ffn_post_norm(self.ffn(_norm(self.ffn_norm, hidden)), hidden, alpha)

    def _parallel(self, hidden: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        mixed = self.mixer_norm(hidden)
        fed = mixed if self.ffn_norm is None else self.ffn_norm(hidden)          # both norms before hidden changes
        self.mixer(mixed, step, angles, hidden, self.spec.residual_scale)
        return self.ffn(fed, hidden, self.spec.residual_scale)


def _norm(norm: nn.Module | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)


class Decoder(Layer):
    """Any decoder-only language model.

    tied: the head shares the embedding's table.
    """

    __call__ = nn.Module.__call__              # once a step: hooks on the whole model are called

    def __init__(self, spec: DecoderSpec, *, tied: bool, max_model_len: int, context: LayerContext) -> None:
        super().__init__()
        self.spec, self.dtype = spec, context.dtype
        self.embedding = Embedding(spec.embedding, spec.hidden_size, is_tied=tied, context=context)
        self.blocks = nn.ModuleList(Block(block, spec.hidden_size, context=context) for block in spec.blocks)
        self.final_norm = optional_norm(spec.final_norm, spec.hidden_size, context=context)
        self.head = Head(spec.head, self.embedding, spec.hidden_size, context=context)
        ropes = dict.fromkeys(block.mixer.rope for block in self.blocks if block.mixer.rope is not None)
        self.ropes: dict[Rope, RotaryPositions] = {
            rope: RotaryPositions(rope, max_model_len=max_model_len) for rope in ropes}
        self.steps = StepReplay(context.isa, context.device, context.scratch)

    @torch.inference_mode()
    def forward(self, step: Step) -> Tensor:
        """Run the blocks over a step's packed tokens: [T, E], before the head."""
        hidden = embed_rows(self.embedding(step.input_ids, step.positions), step)
        angles = {rope: rotary.angles(step.positions, self.dtype) for rope, rotary in self.ropes.items()}
        return self.steps.run(hidden, angles, step, self._run_blocks)

    def _run_blocks(self, hidden: Tensor, angles: Angles, step: Step) -> Tensor:
        for i, block in enumerate(self.blocks):
            tap(hidden, step, i)
            hidden = block(hidden, step, angles.get(block.mixer.rope))
        tap(hidden, step, len(self.blocks))
        return hidden if self.final_norm is None else self.final_norm(hidden)

    @torch.inference_mode()
    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """[N, E] -> [N, V] float32."""
        return self.head(hidden_states)

    def caches(self) -> tuple[PagedAttention, ...]:
        """The layers that store something from step to step, in their order."""
        return tuple(module for module in self.modules() if isinstance(module, PagedAttention))

    def homes(self) -> dict[str, Tensor]:
        homes = {f"embedding.{name}": view for name, view in self.embedding.homes().items()}
        for i, block in enumerate(self.blocks):
            homes |= {f"blocks.{i}.{name}": view for name, view in block.homes().items()}
        if self.final_norm is not None:
            homes |= {f"final_norm.{name}": view for name, view in self.final_norm.homes().items()}
        return homes | {f"head.{name}": view for name, view in self.head.homes().items()}

"""`Stack`, a model from token ids to final states, and `Decoder`, the one module that runs any DecoderSpec.

    forward(step)
      encoder, if the step brings input    -> keys and values of cross attention, in their cache
      embedding(ids)                       -> hidden [T, E]
      rotary angles of the step's positions
      replay: a recording of this shape?   -> one native call that repeats what follows
        each Block: hidden += mixer(norm(hidden)); hidden += cross(norm(hidden)); hidden += ffn(norm(hidden))
          Linear.forward -> self.product(x), which `ops/linear` made of the loaded weight
      final norm                           -> hidden [T, E]; `compute_logits` for the rows that are wanted
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from weft.architectures.spec import (
    BlockSpec,
    DecoderSpec,
    Disentangled,
    EncoderSpec,
    ModelSpec,
    RelativeBias,
    Rope,
)
from weft.errors import DescriptionError
from weft.layers.attention import SelfAttention
from weft.layers.calls import Watch
from weft.layers.context import LayerContext
from weft.layers.cross_attention import CrossAttention
from weft.layers.embedding import Embedding, Head, SharedEmbedding
from weft.layers.layer import Home, Layer
from weft.layers.linear import Linear
from weft.layers.mel_embedding import MelEmbedding
from weft.layers.norm import optional_norm
from weft.layers.paged_attention import PagedAttention
from weft.layers.parts import Ffn, Mixer, make_ffn, make_mixer, rope_of
from weft.layers.registry import layer_of, register_part
from weft.layers.relative import BiasTable, VectorTable, shared_table
from weft.layers.rope import RotaryPositions
from weft.layers.shard import needs_sums
from weft.layers.state import StateLayer
from weft.models.encode import encode
from weft.models.replay import Inputs, StepReplay
from weft.ops.attention import AttentionPlan
from weft.ops.copy_rows import CopyCase, choose_copy
from weft.ops.linear import BFLOAT16_PRODUCTS
from weft.ops.step import Step


class Block(Layer):
    """A BlockSpec with its weights: mixer and feed-forward part, where it has both, around the residual stream."""

    def __init__(self, spec: BlockSpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        self.spec, self.hidden_size, self.dtype, self.isa = spec, hidden_size, context.dtype, context.isa
        self.mixer = make_mixer(spec.mixer, hidden_size, context=context)
        self.ffn = make_ffn(spec.ffn, hidden_size, context=context)
        self.mixer_norm = optional_norm(spec.mixer_norm, hidden_size, context=context, role="mixer_norm")
        self.ffn_norm = optional_norm(spec.ffn_norm, hidden_size, context=context, role="ffn_norm")
        self.mixer_post_norm = optional_norm(spec.mixer_post_norm, hidden_size, context=context)
        self.ffn_post_norm = optional_norm(spec.ffn_post_norm, hidden_size, context=context)
        self.cross = None if spec.cross is None else CrossAttention(spec.cross, hidden_size, context=context)
        self.cross_norm = optional_norm(spec.cross_norm, hidden_size, context=context, role="cross_norm")
        self.cross_post_norm = optional_norm(spec.cross_post_norm, hidden_size, context=context)

    def token_bytes(self, native: bool) -> int:
        """As Layer: the residual stream and norms' results, and the buffers of both parts."""
        parts = [part.token_bytes(native) for part in (self.mixer, self.cross, self.ffn) if part is not None]
        inside = sum(parts) if native else max(parts)
        return 4 * self.hidden_size * self.dtype.itemsize + inside + (self._widened_bytes() if native else 0)

    def _widened_bytes(self) -> int:
        """Bytes of the widest input of a product, as float32 where the level multiplies no short floats."""
        if self.dtype.itemsize == 4 or (self.dtype == torch.bfloat16 and self.isa in BFLOAT16_PRODUCTS):
            return 0
        return 4 * max(module.case.in_features for module in self.modules() if isinstance(module, Linear))

    def forward(self, hidden: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        """[T, E] -> [T, E]; `hidden` itself is changed and returned."""
        if self.spec.parallel:
            return self._parallel(hidden, step, angles)
        if self.spec.post_residual:
            assert self.mixer is not None and self.ffn is not None, "only blocks that add to the stream lack a part"
            hidden = _norm(self.mixer_norm, self._summed(self.mixer, hidden, step, angles))
            if self.cross is not None:
                hidden = _norm(self.cross_norm, self.cross(hidden, step, hidden))
            return _norm(self.ffn_norm, self.ffn(hidden, hidden))
        hidden = hidden if self.mixer is None else self._mixed(self.mixer, hidden, step, angles)
        hidden = hidden if self.cross is None else self._crossed(self.cross, hidden, step)
        return hidden if self.ffn is None else self._fed(self.ffn, hidden)

    def _summed(self, mixer: Mixer, hidden: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        """What mixer_norm reads with `post_residual`."""
        if self.mixer_post_norm is None:
            return mixer(hidden, step, angles, hidden)
        return self.mixer_post_norm(mixer(hidden, step, angles) + hidden, hidden)

    def _mixed(self, mixer: Mixer, hidden: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        alpha = self.spec.residual_scale
        x = self._before(self.mixer_norm, hidden)
        if self.mixer_post_norm is None:
            return mixer(x, step, angles, hidden, alpha)
        return self.mixer_post_norm(mixer(x, step, angles), hidden, alpha)

    def _crossed(self, cross: CrossAttention, hidden: Tensor, step: Step) -> Tensor:
        x = _norm(self.cross_norm, hidden)
        return cross(x, step, hidden) if self.cross_post_norm is None else self.cross_post_norm(cross(x, step), hidden)

    def _fed(self, ffn: Ffn, hidden: Tensor) -> Tensor:
        alpha, x = self.spec.residual_scale, self._before(self.ffn_norm, hidden)
        if self.ffn_post_norm is None:
            return ffn(x, hidden, alpha)
        return self.ffn_post_norm(ffn(x), hidden, alpha)

    def _before(self, norm: nn.Module | None, hidden: Tensor) -> Tensor:
        """What a part reads. With `adds_to_normed`, `hidden` itself becomes the norm's result."""
        x = _norm(norm, hidden)
        if self.spec.adds_to_normed:
            hidden.copy_(x)
        return x

    def _parallel(self, hidden: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        assert self.mixer is not None and self.ffn is not None, "two parts are in parallel"
        mixed = _norm(self.mixer_norm, hidden)
        fed = mixed if self.ffn_norm is None else self.ffn_norm(hidden)          # both norms before hidden changes
        hidden = self.mixer(mixed, step, angles, hidden, self.spec.residual_scale)
        return self.ffn(fed, hidden, self.spec.residual_scale)


register_part(BlockSpec, Block)


def _norm(norm: nn.Module | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)


class Stack(Layer):
    """A model's embedding, blocks and final norm.

    It can be asked for its sizes as soon as it is built; `prepare` comes before its first forward.
    """

    __call__ = nn.Module.__call__              # once a step: hooks on the whole model are called

    def __init__(self, spec: ModelSpec, embedding: Embedding | MelEmbedding, *, context: LayerContext) -> None:
        super().__init__()
        self.spec, self.dtype, self.shard, self.embedding = spec, context.dtype, context.shard, embedding
        self.blocks = nn.ModuleList(layer_of(block)(block, spec.hidden_size, context=context)
                                    for block in spec.blocks)
        self.order = getattr(spec, "order", None) or range(len(spec.blocks))
        self.relative = self._shared_table(context)
        self.final_norm = optional_norm(spec.final_norm, spec.hidden_size, context=context)
        self.ropes: dict[Rope, RotaryPositions] = {}
        self.copy_rows = choose_copy(CopyCase(device=context.device, dtype=context.dtype, isa=context.isa)).run
        watch = Watch(module for module in self.modules() if module is not self)        # this one runs in each step
        self.steps = StepReplay(context.isa, context.device, context.scratch, watch)

    def prepare(self, *, max_model_len: int) -> None:
        """Make what depends on the longest sequence, in tokens, and on loaded tables: frequencies of rotary positions,
        biases by distance.
        """
        for module in self.modules():
            if isinstance(module, SelfAttention):
                module.prepare(self.relative, max_model_len)
        ropes = dict.fromkeys(rope for block in self.each_block() if (rope := rope_of(block.mixer)) is not None)
        self.ropes = {rope: layer_of(rope)(rope, max_model_len=max_model_len) for rope in ropes}

    def _shared_table(self, context: LayerContext) -> BiasTable | VectorTable | None:
        """The table of distances that blocks share. DescriptionError for blocks that would need several."""
        spec = self.spec
        found = dict.fromkeys(getattr(block.mixer, "positions", None) for block in spec.blocks)
        shared = [x for x in found if isinstance(x, Disentangled) or (isinstance(x, RelativeBias) and x.is_shared)]
        if not shared:
            return None
        heads = {getattr(block.mixer, "num_heads", 0) for block in spec.blocks}
        if len(shared) > 1 or len(heads) > 1:
            raise DescriptionError("blocks", ", ".join(each.describe() for each in shared),
                                   expected="one table of distances for all blocks, of as many heads each")
        span = context.divided("num_attention_heads", heads.pop())
        return shared_table(shared[0], spec.hidden_size, span, context=context)

    def each_block(self) -> Iterable[Block]:
        """The blocks in order, by their type, which torch's ModuleList does not know."""
        return cast("Iterable[Block]", self.blocks)

    @torch.inference_mode()
    def forward(self, step: Step) -> Tensor:
        """Run the blocks over a step's packed tokens: [T, E], before the head.

        NotBuiltError for a shard of several, ValueError for taps that do not fit the model.
        """
        if self.shard is not None and self.shard.count > 1:
            raise needs_sums("residual stream", self.embedding.vocabulary)
        self._check_taps(step)
        hidden = self.embedding(step.input_ids, step.positions, step.embeds, step.token_types)
        angles = [rotary.angles(step.positions, self.dtype) for rotary in self.ropes.values()]
        inputs = [hidden, *(x for pair in angles for x in pair)]
        return self.steps.run(inputs, step, self._run_blocks)

    def _run_blocks(self, inputs: Inputs, step: Step) -> Tensor:
        """inputs: hidden states [T, E]; then for each of `ropes` cos and sin, [T, R / 2] each."""
        hidden, *turns = inputs
        angles = dict(zip(self.ropes, zip(turns[::2], turns[1::2], strict=True), strict=True))
        blocks = list(self.each_block())
        for i, number in enumerate(self.order):
            self._tap(hidden, step, i)
            rope = rope_of(blocks[number].mixer)
            hidden = blocks[number](hidden, step, None if rope is None else angles[rope])
        self._tap(hidden, step, len(self.order))
        return hidden if self.final_norm is None else self.final_norm(hidden)

    def _tap(self, hidden: Tensor, step: Step, block: int) -> None:
        """Keep what goes into a block, if the step asks for it."""
        if step.taps is not None and block in step.taps:
            self.copy_rows(hidden, step.taps[block])

    def _check_taps(self, step: Step) -> None:
        """ValueError for a tap that no block would fill, or not as it is."""
        wanted = (len(step.input_ids), self.spec.hidden_size)
        for block, x in (step.taps or {}).items():
            if not 0 <= block <= len(self.order):
                raise ValueError(f"step.taps[{block}]: expected 0 to {len(self.order)}, the number of blocks")
            if x.shape != wanted or x.dtype != self.dtype:
                raise ValueError(f"step.taps[{block}] is {x.dtype} {list(x.shape)}, expected {self.dtype} "
                                 f"{list(wanted)}")

    def caches(self) -> tuple[PagedAttention | StateLayer, ...]:
        """The layers that store something from step to step, in their order."""
        return tuple(module for block in self.blocks for module in block.modules()
                     if isinstance(module, PagedAttention | StateLayer))

    def homes(self) -> dict[str, Home]:
        homes = _prefixed("embedding", self.embedding)
        for i, block in enumerate(self.each_block()):
            homes |= _prefixed(f"blocks.{i}", block)
        return homes | _prefixed("relative", self.relative) | _prefixed("final_norm", self.final_norm)


class Decoder(Stack):
    """Any language model: a decoder, and its encoder if it has one. tied: the head shares the embedding's table."""

    spec: DecoderSpec

    def __init__(self, spec: DecoderSpec, *, tied: bool, context: LayerContext) -> None:
        embedding = Embedding(spec.embedding, spec.hidden_size, is_tied=tied, context=context)
        super().__init__(spec, embedding, context=context)
        self.head = Head(spec.head, embedding, spec.hidden_size, context=context)
        self.encoder = None
        if spec.encoder is not None:
            self.encoder = _encoder(spec.encoder, embedding if spec.shares_embedding else None, context=context)

    def prepare(self, *, max_model_len: int) -> None:
        """As Stack, also of the encoder, whose input may be longer."""
        super().prepare(max_model_len=max_model_len)
        if self.encoder is not None:
            self.encoder.prepare(max_model_len=max(max_model_len, self.encoder.spec.max_position or 0))

    @torch.inference_mode()
    def forward(self, step: Step) -> Tensor:
        """As Stack; inputs of the encoder that the step brings are computed first."""
        return super().forward(self._with_encoded(step) if step.encoder_ids else step)

    def _with_encoded(self, step: Step) -> Step:
        """Run the encoder and write keys and values of cross attention; the step in which they are written already."""
        assert self.encoder is not None, "a model without an encoder is given no input for one"
        states, groups = encode(self.encoder, step.encoder_ids.values()), set()
        for block in self.each_block():
            assert block.cross is not None, "every block of the spec attends to the encoder"
            block.cross.store(states, step)
            groups.add(block.cross.paged.group)
        return replace(step, caches=tuple(plan.without_slots() if isinstance(plan, AttentionPlan) and group in groups
                                          else plan
                                          for group, plan in enumerate(step.caches)))

    @torch.inference_mode()
    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """[N, E] -> [N, V] float32."""
        return self.head(hidden_states)

    def homes(self) -> dict[str, Home]:
        homes = super().homes() | _prefixed("head", self.head) | _prefixed("encoder", self.encoder)
        if self.head.is_tied:                                 # one home under two names: the head finishes the table
            homes["embedding.tokens.weight"] = homes["head.weight"]
        return homes


def _encoder(spec: EncoderSpec, owner: Embedding | None, *, context: LayerContext) -> Stack:
    """The encoder beside a decoder, whose own cache is of the model's dtype. owner: of the table of tokens."""
    context = replace(context, cache=None)
    if spec.embedding.num_mel_bins:
        embedding = MelEmbedding(spec.embedding, spec.hidden_size, context=context)
    elif owner is None:
        embedding = Embedding(spec.embedding, spec.hidden_size, is_tied=False, context=context)
    else:
        embedding = SharedEmbedding(spec.embedding, spec.hidden_size, owner=owner, context=context)
    return Stack(spec, embedding, context=context)


def _prefixed(prefix: str, layer: Layer | None) -> dict[str, Home]:
    return {} if layer is None else {f"{prefix}.{part}": home for part, home in layer.homes().items()}

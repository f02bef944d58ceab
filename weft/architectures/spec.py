"""The parts a model is made of, as frozen dataclasses: a `ModelSpec` says everything about a model but its weights.

The parts lie in `*_spec.py` by kind and are all named here; each says its own words by `describe()`. They know no
torch, no file and no model's name. `architectures/*.py` build specs from configs; `layers/` has a module for each part;
`models/decoder.py` and `models/encoder.py` run the whole. What differs between models is a different part or a
different value. Letters of shapes: docs/architecture.md.
"""

from __future__ import annotations

from dataclasses import field

from weft.architectures.attention_spec import AttentionSpec, MLASpec, QKNorm
from weft.architectures.ffn_spec import MLPSpec, MoESpec
from weft.architectures.names import NameMap
from weft.architectures.norm_spec import LayerNorm, NormSpec, RMSNorm
from weft.architectures.part import Part, part
from weft.architectures.position_spec import (
    Alibi,
    Causal,
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    Rope,
    RopeScaling,
    SlidingWindow,
    YarnScaling,
)
from weft.architectures.state_spec import Mamba2Spec, MambaSpec

__all__ = [
    "Alibi",
    "AttentionSpec",
    "BlockSpec",
    "Causal",
    "DecoderSpec",
    "DynamicScaling",
    "EmbeddingSpec",
    "EncoderSpec",
    "HeadSpec",
    "LayerNorm",
    "LearnedPositions",
    "LinearScaling",
    "Llama3Scaling",
    "LongRopeScaling",
    "MLASpec",
    "MLPSpec",
    "Mamba2Spec",
    "MambaSpec",
    "MixerSpec",
    "MoESpec",
    "ModelSpec",
    "NormSpec",
    "Part",
    "PoolerSpec",
    "QKNorm",
    "RMSNorm",
    "Rope",
    "RopeScaling",
    "SlidingWindow",
    "StateSpec",
    "YarnScaling",
    "part",
]

StateSpec = MambaSpec | Mamba2Spec
MixerSpec = AttentionSpec | MLASpec | StateSpec


@part
class BlockSpec(Part):
    """One layer: h += scale * post(mixer(norm(h))); h += scale * post(ffn(norm(h))).

    parallel: mixer and ffn both read the block's input, h += mixer(mixer_norm(h)) + ffn(ffn_norm(h)); with
    `ffn_norm` None they share mixer_norm's output.
    post_residual: the norms stand after the residual sum, h = mixer_norm(h + mixer(h)) (OPT 350m).
    ffn None: the block is its mixer alone (Mamba).
    """

    mixer: MixerSpec
    ffn: MLPSpec | MoESpec | None
    mixer_norm: NormSpec | None
    ffn_norm: NormSpec | None
    mixer_post_norm: NormSpec | None = None
    ffn_post_norm: NormSpec | None = None
    parallel: bool = False
    post_residual: bool = False
    residual_scale: float = 1.0


@part
class LearnedPositions(Part):
    """A trained vector for each position, at row position + offset of the table."""

    num_positions: int
    offset: int = 0


@part
class EmbeddingSpec(Part):
    """Token ids to hidden states: tokens[id] * scale, projected to hidden_size, + positions[pos], then norm.

    scale: rounded to the model's dtype first. embedding_dim: width of the table when it differs from the hidden size
    (OPT 350m), which makes the projection.
    scales_given_rows: rows given instead of ids (prompt embeddings) are scaled too (Granite). False: they stand for
    tokens[id] * scale (Gemma, whose embedding scales in Transformers). Projection, positions and norm are for both.
    token_types: rows of a second table, of which every token gets the first one added before the positions (BERT's
    segments, of which weft knows one); 0: there is none.
    """

    vocab_size: int
    scale: float = 1.0
    positions: LearnedPositions | None = None
    norm: NormSpec | None = None
    embedding_dim: int | None = None
    scales_given_rows: bool = False
    token_types: int = 0


@part
class HeadSpec(Part):
    """Hidden states to logits: linear, times `scale`, then softcap * tanh(logits / softcap).

    tied: what the config says of sharing the embedding's table; a checkpoint with a head of its own wins.
    Where the embedding's width is not hidden_size, a projection to it comes first (OPT 350m).
    """

    bias: bool = False
    tied: bool = False
    scale: float = 1.0
    softcap: float | None = None


@part
class DecoderSpec(Part):
    """A decoder-only language model. `names` maps its checkpoint's tensor names to part names.

    gguf_names, mistral_names: the same for GGUF files, and for files of Mistral's own format; None: nobody has said how
    the family is stored there.
    """

    hidden_size: int
    vocab_size: int
    max_position: int | None
    embedding: EmbeddingSpec
    blocks: tuple[BlockSpec, ...]
    final_norm: NormSpec | None
    head: HeadSpec
    names: NameMap = field(repr=False)
    gguf_names: NameMap | None = field(default=None, repr=False)
    mistral_names: NameMap | None = field(default=None, repr=False)


@part
class EncoderSpec(Part):
    """A model of which the final states of the tokens are wanted; each token sees all of its prompt. Names as there.

    default_pooling: the pooling of a prompt (`PoolerSpec.kind`) where the checkpoint says none.
    """

    hidden_size: int
    vocab_size: int
    max_position: int | None
    embedding: EmbeddingSpec
    blocks: tuple[BlockSpec, ...]
    final_norm: NormSpec | None
    default_pooling: str
    names: NameMap = field(repr=False)
    gguf_names: NameMap | None = field(default=None, repr=False)
    mistral_names: NameMap | None = field(default=None, repr=False)


@part
class PoolerSpec(Part):
    """What a prompt's states [T, E] become as one vector.

    kind: "cls" (the first token's), "last" or "mean". normalize: the vector is scaled to length 1 unless a request says
    otherwise.
    """

    kind: str
    normalize: bool = True


ModelSpec = DecoderSpec | EncoderSpec

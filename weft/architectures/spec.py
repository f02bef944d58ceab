"""The parts of a model as frozen dataclasses: a `ModelSpec` describes everything about a model except its weights.

Parts are defined in `*_spec.py` by kind and exported here; a part's `describe()` returns words for tables. Parts know
no torch, no files and no model names. `architectures/*.py` build specs from configs; `layers/` has a module for each
part; `models/decoder.py` and `models/encoder.py` run whole models. Letters of shapes: docs/architecture.md.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from weft.architectures.attention_spec import (
    AttentionSpec,
    CrossAttentionSpec,
    MLASpec,
    OutputGate,
    QKNorm,
    QueryScaling,
)
from weft.architectures.delta_spec import GatedDeltaSpec
from weft.architectures.ffn_spec import XIELU, Activation, ClampedGLU, MLPSpec, MoESpec
from weft.architectures.names import NameMap
from weft.architectures.norm_spec import LayerNorm, RMSNorm
from weft.architectures.pair_spec import PairSpec
from weft.architectures.part import Part, part
from weft.architectures.part_kinds import FfnSpec, MixerSpec, NormSpec
from weft.architectures.pooling_spec import (
    ClassifierSpec,
    DenseNormSpec,
    DenseSpec,
    HeadLayerSpec,
    PoolerSpec,
    SeqPooling,
)
from weft.architectures.position_spec import (
    Alibi,
    Causal,
    Disentangled,
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    NTKAlphaScaling,
    NTKScaling,
    ProportionalScaling,
    RelativeBias,
    Rope,
    RopeScaling,
    SlidingWindow,
    YarnScaling,
)
from weft.architectures.state_spec import LightningSpec, Mamba2Spec, MambaSpec, ShortConvSpec, StateSpec
from weft.errors import DescriptionError

__all__ = [
    "XIELU",
    "Activation",
    "Alibi",
    "AttentionSpec",
    "BlockSpec",
    "Causal",
    "ClampedGLU",
    "ClassifierSpec",
    "CrossAttentionSpec",
    "DecoderSpec",
    "DenseNormSpec",
    "DenseSpec",
    "Disentangled",
    "DynamicScaling",
    "EmbeddingSpec",
    "EncoderSpec",
    "FfnSpec",
    "GatedDeltaSpec",
    "HeadSpec",
    "HeadTransform",
    "LayerNorm",
    "LearnedPositions",
    "LightningSpec",
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
    "NTKAlphaScaling",
    "NTKScaling",
    "NormSpec",
    "OutputGate",
    "PairSpec",
    "Part",
    "PoolerSpec",
    "ProportionalScaling",
    "QKNorm",
    "QueryScaling",
    "RMSNorm",
    "RelativeBias",
    "Rope",
    "RopeScaling",
    "SeqPooling",
    "ShortConvSpec",
    "Sinusoids",
    "SlidingWindow",
    "StateSpec",
    "YarnScaling",
    "part",
]


@part
class BlockSpec(Part):
    """One layer: h += scale * post(mixer(norm(h))); h += scale * post(ffn(norm(h))), with scale = residual_scale.

    mixer: where tokens meet. mixer_norm, ffn_norm: before the parts. mixer_post_norm, ffn_post_norm: after them, before
    the sum (Gemma 2, OLMo 2). residual_scale: a factor on what is added (Granite).
    cross: attention over an encoder's states, between mixer and ffn; None: a block of a model without an encoder. Never
    beside `parallel` or a `residual_scale`. cross_norm, cross_post_norm: before and after it.
    parallel: mixer and ffn both read the block's input, h += mixer(mixer_norm(h)) + ffn(ffn_norm(h)); with
    `ffn_norm` None they share mixer_norm's output.
    post_residual: the norms are applied after the residual sum, h = mixer_norm(h + mixer(h)) (OPT 350m). A post norm of
    the mixer then has a sum of its own: h = mixer_norm(h + mixer_post_norm(h + mixer(h))) (Jina's code embedder).
    adds_to_normed: the parts' results are added to the norms' results, h = norm(h) + mixer(norm(h)) (some of Bloom).
    ffn None: the block has only a mixer (Mamba). mixer None: the block has only a feed-forward part (Nemotron-H).
    """

    mixer: MixerSpec | None
    ffn: FfnSpec | None
    mixer_norm: NormSpec | None
    ffn_norm: NormSpec | None
    mixer_post_norm: NormSpec | None = None
    ffn_post_norm: NormSpec | None = None
    parallel: bool = False
    post_residual: bool = False
    residual_scale: float = 1.0
    cross: CrossAttentionSpec | None = None
    cross_norm: NormSpec | None = None
    cross_post_norm: NormSpec | None = None
    adds_to_normed: bool = False

    is_open = True


@part
class LearnedPositions(Part):
    """A trained vector for each position; the vector of position p is row p + offset of the table.

    num_positions: of the longest sequence. offset: rows before position 0 (OPT).
    """

    num_positions: int
    offset: int = 0


@part
class Sinusoids(Part):
    """A vector of sines and, in its second half, cosines of each position. Source: arXiv:1706.03762 section 3.5.

    A checkpoint's own table counts, if there is one; row p + offset is the vector of position p.
    num_positions: of the longest sequence. offset: the position p counts as p + offset. frequency j of n is
    10000 ** (-j / n), or with `reaches_last` 10000 ** (-j / (n - 1)) (Fairseq; M2M100, FSMT, XGLM).
    padding_id: a token that gets zeros instead (M2M100); None: there is none.
    """

    num_positions: int
    offset: int = 0
    reaches_last: bool = False
    padding_id: int | None = None


@part
class EmbeddingSpec(Part):
    """Token ids to hidden states: tokens[id] * scale, projected to hidden_size, + positions[pos], then norm.

    vocab_size: rows of the table. scale: a factor, rounded to the model's dtype first. positions: trained positions, or
    computed ones, that are added. norm: the last step. embedding_dim: width of the table if it differs from hidden_size
    (OPT 350m); then there is a projection.
    scales_given_rows: prompt embeddings (rows given instead of ids) are scaled too (Granite). False: given rows replace
    tokens[id] * scale (Gemma, whose embedding scales in Transformers). Projection, positions and norm apply to both.
    token_types: number of rows in a second table, BERT's segments; 0: no such table. The row of each token's type is
    added before the positions.
    projects_last: the projection is the last step, has a bias, and all tables and the norm are embedding_dim wide
    (Electra); with an embedding_dim equal to hidden_size, too (ALBERT).
    norm_before_positions: the positions are added after the norm (Blenderbot small).
    num_mel_bins: there is no table (vocab_size is 0): a row is given as two frames of a log-mel spectrogram with as
    many bins, of which two convolutions make hidden states (Whisper, arXiv:2212.04356 section 2.2); 0: token ids.
    """

    vocab_size: int
    scale: float = 1.0
    positions: LearnedPositions | Sinusoids | None = None
    norm: NormSpec | None = None
    embedding_dim: int | None = None
    scales_given_rows: bool = False
    token_types: int = 0
    projects_last: bool = False
    norm_before_positions: bool = False
    num_mel_bins: int = 0


@part
class HeadTransform(Part):
    """norm(act(dense(x))), before a head's product (BERT's language models). Source: arXiv:1810.04805.

    act, norm: as said. bias: whether the dense layer has one.
    """

    act: Activation
    norm: NormSpec
    bias: bool = True


@part
class HeadSpec(Part):
    """Hidden states to logits: linear, times `scale`, then softcap * tanh(logits / softcap).

    bias: one for each token. scale: a factor on the logits. softcap: None: no such cap.
    tied: whether the config says that the head shares the embedding's table; a checkpoint with a separate head wins.
    transform: comes first, and leads to the embedding's width. Without one, a projection to that width comes first
    where it is not hidden_size (OPT 350m).
    """

    transform: HeadTransform | None = None
    bias: bool = False
    tied: bool = False
    scale: float = 1.0
    softcap: float | None = None


@part
class StackSpec(Part):
    """What every model has: an embedding, blocks and a final norm.

    hidden_size: E, width of the hidden states. vocab_size: V, number of tokens. max_position: the longest sequence that
    the model was made for; None: unknown. embedding: the first end. blocks: one for each layer. final_norm: after the
    last block; None: no such norm.
    names: maps tensor names of Hugging Face checkpoints to part names. gguf_names, mistral_names: the same for GGUF
    files, and for files of Mistral's own format; None: the family cannot be loaded from such files.
    sequence_classifier, token_classifier: what `…ForSequenceClassification` and `…ForTokenClassification` have behind
    the states; None: a decoder's `score` (or `classifier`) layer, an encoder's `classifier` for tokens.
    pools_as: which of them the model itself is ("sequence" or "token"), whatever its name's end says (reward models).
    """

    hidden_size: int
    vocab_size: int
    max_position: int | None
    embedding: EmbeddingSpec
    blocks: tuple[BlockSpec, ...]
    final_norm: NormSpec | None
    names: NameMap = field(repr=False)
    gguf_names: NameMap | None = field(default=None, repr=False)
    mistral_names: NameMap | None = field(default=None, repr=False)
    sequence_classifier: ClassifierSpec | None = field(default=None, repr=False)
    token_classifier: ClassifierSpec | None = field(default=None, repr=False)
    pools_as: Literal["sequence", "token"] | None = field(default=None, repr=False)


@part
class EncoderSpec(StackSpec):
    """An encoder: its output is the tokens' final hidden states.

    default_pooling: of a prompt's states into one vector, if the checkpoint's files name none.
    order: numbers of the blocks in the order in which they run, where some run more than once (ALBERT); None: each runs
    once. Only blocks whose tokens see their whole prompt may run twice, as all runs of a block share its cache.
    lm_head: the layers from a token's state to a logit for each token of the vocabulary, as checkpoints of masked
    language models have them; a last matrix that a checkpoint does not have is the embedding's. (): not known.
    poolers: one for each task that an embedder has, that of "embed" first, whatever the files say; (): as these say.
    """

    default_pooling: SeqPooling
    order: tuple[int, ...] | None = None
    lm_head: tuple[HeadLayerSpec, ...] = field(default=(), repr=False)
    poolers: tuple[PoolerSpec, ...] = field(default=(), repr=False)


@part
class DecoderSpec(StackSpec):
    """A language model: a decoder alone, or a decoder whose blocks attend to an encoder.

    head: the last end. encoder: its homes in `names` have the prefix `encoder.`; None: there is none.
    shares_embedding: the encoder looks its tokens up in the decoder's table (and scales them alike).
    """

    head: HeadSpec
    encoder: EncoderSpec | None = None
    shares_embedding: bool = False

    def __post_init__(self) -> None:
        """DescriptionError unless all blocks attend to an encoder that is there, or none does."""
        if any((block.cross is None) != (self.encoder is None) for block in self.blocks):
            raise DescriptionError("blocks", "an encoder" if self.encoder else "blocks with cross attention",
                                   expected="cross attention in every block beside an encoder, and else in none")


ModelSpec = DecoderSpec | EncoderSpec

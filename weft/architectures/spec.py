"""The parts a model is made of, as frozen dataclasses: a `DecoderSpec` says everything about a model but its weights.

Knows no torch, no file and no model's name. `architectures/*.py` build specs from configs; `layers/` has a module for
each part; `models/decoder.py` runs the whole. What differs between models is a different part or a different value.
Letters of shapes: docs/architecture.md.
"""

from __future__ import annotations

from dataclasses import field

from weft.architectures.names import NameMap
from weft.architectures.part import Part, part
from weft.architectures.state_spec import Mamba2Spec, MambaSpec

# Norms


@part
class RMSNorm(Part):
    """x / rms(x) * (offset + weight), in float32. Source: arXiv:1910.07467.

    offset: 1.0 where the checkpoint stores weight - 1 (Gemma).
    cast_before_weight: round x / rms(x) to the model's dtype before the product (Llama), or after it (Gemma).
    """

    eps: float
    offset: float = 0.0
    cast_before_weight: bool = True


@part
class LayerNorm(Part):
    """(x - mean) / std * weight + bias, in float32. Source: arXiv:1607.06450."""

    eps: float
    has_weight: bool = True
    has_bias: bool = True


NormSpec = RMSNorm | LayerNorm


# Positions


@part
class LinearScaling(Part):
    """Positions divided by a factor."""

    factor: float


@part
class DynamicScaling(Part):
    """NTK-aware base change beyond the trained length. Source: `rope_type` dynamic of Transformers."""

    factor: float
    original_max_position: int


@part
class Llama3Scaling(Part):
    """Low frequencies divided by a factor, high ones kept, a ramp between. Source: Llama 3.1's config.json."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position: int


@part
class YarnScaling(Part):
    """YaRN. Source: arXiv:2309.00071. `attention_factor` None: from factor (and mscale, mscale_all_dim)."""

    factor: float
    original_max_position: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True


@part
class LongRopeScaling(Part):
    """A factor for each frequency, one list up to the original length and one beyond. Source: arXiv:2402.13753.

    factor: max_position / original, from which `attention_factor` follows when it is None.
    """

    short_factor: tuple[float, ...]
    long_factor: tuple[float, ...]
    original_max_position: int
    factor: float | None = None
    attention_factor: float | None = None


RopeScaling = LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling | LongRopeScaling


@part
class Rope(Part):
    """Rotary positions on the first `rotary_dim` of each head. Source: arXiv:2104.09864.

    interleaved: pairs are neighbours (GPT-J, Cohere) instead of halves (GPT-NeoX, Llama).
    """

    theta: float
    rotary_dim: int
    interleaved: bool = False
    scaling: RopeScaling | None = None


@part
class Alibi(Part):
    """scale * slope of the head * distance, added to the scaled scores. Source: arXiv:2108.12409.

    is_bfloat16: slope, key position and their product are rounded to bfloat16 whatever the model's dtype (Falcon).
    """

    max_bias: float = 8.0
    scale: float = 1.0
    is_bfloat16: bool = False


# Masks


@part
class Causal(Part):
    """Each token sees itself and all before it."""


@part
class SlidingWindow(Part):
    """Each token sees itself and the `window` - 1 tokens before it."""

    window: int


# Mixers


@part
class QKNorm(Part):
    """A norm on q and k before the rotation.

    scope: "head": one weight [D] shared by the heads (Qwen3, Gemma 3); "each_head": a weight [H, D] (Cohere, StableLM),
    normalised over D; "all": a weight [H * D], normalised over all heads together (OLMo 2).
    """

    norm: NormSpec
    scope: str = "head"


@part
class AttentionSpec(Part):
    """Softmax attention with grouped queries. Source: arXiv:1706.03762, arXiv:2305.13245.

    scale: factor on the scores; softcap: scores become softcap * tanh(scores / softcap); clip: q, k and v are clamped
    to [-clip, clip] (OLMo 1).
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    positions: Rope | Alibi | None
    mask: Causal | SlidingWindow
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: QKNorm | None = None
    softcap: float | None = None
    clip: float | None = None

    @property
    def window(self) -> int | None:
        """Tokens a query sees, itself included; None: all."""
        return self.mask.window if isinstance(self.mask, SlidingWindow) else None


@part
class MLASpec(Part):
    """Multi-head latent attention: q, k and v are expanded from short normed vectors. Source: arXiv:2405.04434.

    q = q_b(norm(q_a(x))), or q(x) where `q_rank` is None. kv_a(x) holds a vector of `kv_rank`, of which k_b and v_b
    make keys and values of all heads, and a rotated key that the heads share. So a head of q and k has `nope_dim`
    numbers without position and `positions.rotary_dim` with; one of v has `value_dim`.
    bias: of q_a, kv_a and o.
    """

    num_heads: int
    q_rank: int | None
    kv_rank: int
    nope_dim: int
    value_dim: int
    scale: float
    positions: Rope
    norm: RMSNorm
    bias: bool = False

    @property
    def key_dim(self) -> int:
        """Size of a head of q and k."""
        return self.nope_dim + self.positions.rotary_dim

    @property
    def head_dim(self) -> int:
        """Size of a cached head. Keys and values are cached expanded, the shorter ones filled up with zeros."""
        return max(self.key_dim, self.value_dim)

    @property
    def num_kv_heads(self) -> int:
        return self.num_heads

    @property
    def window(self) -> None:
        return None


StateSpec = MambaSpec | Mamba2Spec
MixerSpec = AttentionSpec | MLASpec | StateSpec


# Feed-forward parts


@part
class MLPSpec(Part):
    """down(act(up(x))), or down(act(gate(x)) * up(x)) when gated. `act` is a name of `ops/activation`."""

    intermediate_size: int
    act: str
    gated: bool
    bias: bool = False


@part
class MoESpec(Part):
    """Mixture of experts: a router picks `num_experts_per_token` of `num_experts` for each token.

    Weights: `scores` of the experts ("softmax" over all, or a "sigmoid" of each), of these the top ones, renormalised
    to sum 1 when `renormalize`, times `scale`.
    choice_bias: a trained number is added to each expert's score for choosing, not for weighing (DeepSeek-V3).
    num_groups: equal groups of experts, of which a token may use the `groups_per_token` best; a group is as good as
    the sum of its `group_best` largest scores (DeepSeek-V2: 1, V3: 2).
    shared: an MLP that every token passes, its output scaled by sigmoid(shared_gate(x)) when `shared_gate`.
    Source: arXiv:2401.04088 (Mixtral); groups: arXiv:2405.04434, arXiv:2412.19437.
    """

    num_experts: int
    num_experts_per_token: int
    expert: MLPSpec
    renormalize: bool = True
    scores: str = "softmax"
    scale: float = 1.0
    choice_bias: bool = False
    num_groups: int = 1
    groups_per_token: int = 1
    group_best: int = 1
    shared: MLPSpec | None = None
    shared_gate: bool = False


# The whole


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
    """

    vocab_size: int
    scale: float = 1.0
    positions: LearnedPositions | None = None
    norm: NormSpec | None = None
    embedding_dim: int | None = None
    scales_given_rows: bool = False


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

"""The mixers that cache keys and values of every token: softmax attention and latent attention (MLA).

`layers/attention.py` and `layers/mla.py` run them. H, Hkv: numbers of heads and KV heads; D: size of a head.
"""

from __future__ import annotations

from typing import Literal

from weft.architectures.norm_spec import LayerNorm, RMSNorm
from weft.architectures.part import Part, part
from weft.architectures.part_kinds import MixerSpec
from weft.architectures.position_spec import Alibi, Causal, Disentangled, RelativeBias, Rope, SlidingWindow
from weft.cache.masks import Bidirectional, Chunked


@part
class QKNorm(Part):
    """A norm on q and k.

    norm: its kind. after_rotation: it comes after the rotation (HunYuan), else before.
    scope: "head": normalised over D, one weight [D] shared by the heads (Qwen3, Gemma 3); "each_head": normalised over
    D, a weight [H, D] (Cohere, StableLM); "all": normalised over all heads together, a weight [H * D] (OLMo 2).
    """

    norm: RMSNorm | LayerNorm
    scope: Literal["head", "each_head", "all"] = "head"
    after_rotation: bool = False


@part
class OutputGate(Part):
    """The heads' results are multiplied by a function of gate(x) before the product out. Source: arXiv:2505.06708.

    per: "value": the gate has a row for each value of each head (AFMoE); "head": a row for each head. act: the
    function. scale: a factor on it. bias: whether the product gate(x) has one.
    """

    per: Literal["value", "head"] = "value"
    act: Literal["sigmoid", "softplus"] = "sigmoid"
    scale: float = 1.0
    bias: bool = False


@part
class QueryScaling(Part):
    """Queries are multiplied by 1 + beta * log(1 + floor((position + shift) / length)), after the rotation.

    beta, shift: as said. length: in tokens. Source: arXiv:2501.19399; Llama 4's `attn_temperature_tuning`.
    """

    beta: float
    length: int
    shift: int = 0


@part
class AttentionSpec(MixerSpec):
    """Softmax attention with grouped queries. Source: arXiv:1706.03762, arXiv:2305.13245.

    num_heads: H. num_kv_heads: Hkv, a divisor of H. head_dim: D. positions: how positions enter; None: not here. mask:
    what a token sees. qkv_bias, out_bias: the products have biases. k_bias: with qkv_bias, whether k has one too (not
    in Whisper). qk_norm: norms of q and k.
    scale: factor on the scores; softcap: scores become softcap * tanh(scores / softcap); clip: q, k and v are clamped
    to [-clip, clip] after the norms and before the rotation (OLMo 1, OLMoE).
    sinks: each head has a trained logit that joins its softmax without a value (gpt-oss). gate: multiplies the heads'
    results. out_norm: a norm over all heads' results (BitNet). query_scaling: a factor on q by
    position.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    positions: Rope | Alibi | RelativeBias | Disentangled | None
    mask: Causal | SlidingWindow | Bidirectional | Chunked
    qkv_bias: bool = False
    k_bias: bool = True
    out_bias: bool = False
    qk_norm: QKNorm | None = None
    softcap: float | None = None
    clip: float | None = None
    sinks: bool = False
    gate: OutputGate | None = None
    out_norm: RMSNorm | LayerNorm | None = None
    query_scaling: QueryScaling | None = None

    @property
    def window(self) -> int | None:
        """Number of tokens a query sees, itself included; None: no limit."""
        return self.mask.window if isinstance(self.mask, SlidingWindow) else None

    def describe(self, *, sizes: bool = True) -> str:
        """`16 heads, 8 kv heads of 128`, followed by `features`; without sizes: `grouped-query`."""
        if not sizes:
            kind = "grouped-query" if self.num_kv_heads > 1 else "multi-query"
            return "multi-head" if self.num_kv_heads == self.num_heads else kind
        words = [f"{self.num_heads} heads"]
        if self.num_kv_heads != self.num_heads:
            words.append(f"{self.num_kv_heads} kv heads")
        words[-1] += f" of {self.head_dim}"
        return ", ".join(words + self.features())

    def features(self) -> list[str]:
        """Words for everything besides heads: mask, window, norms, caps, biases."""
        words = ["bidirectional"] * isinstance(self.mask, Bidirectional)
        radius = getattr(self.mask, "radius", None)
        words += [f"{radius} tokens to each side"] if radius is not None else []
        words += [f"window {self.window}"] if self.window is not None else []
        words += [f"chunks of {self.mask.size}"] if isinstance(self.mask, Chunked) else []
        if self.qk_norm is not None:
            words.append("q/k norm" if self.qk_norm.scope == "head" else
                         f"q/k norm ({self.qk_norm.scope.replace('_', ' ')})")
        words += [f"{name} {value:g}" for name, value in (("soft cap", self.softcap), ("clip", self.clip))
                  if value is not None]
        if self.qkv_bias or self.out_bias:
            words.append("bias" if self.out_bias and self.qkv_bias else "qkv bias" if self.qkv_bias else "out bias")
        words += [name for name, part in (
            ("sinks", self.sinks), ("gate", self.gate), ("norm of results", self.out_norm),
            ("scaled queries", self.query_scaling)) if part]
        return words


@part
class CrossAttentionSpec(Part):
    """Attention of a decoder's tokens over all states of an encoder. Source: arXiv:1706.03762 section 3.2.3.

    num_heads: H. num_kv_heads: Hkv, a divisor of H. head_dim: D. encoder_size: width of the encoder's states, of which
    keys and values are made. scale, softcap, qkv_bias, k_bias, out_bias: as in AttentionSpec.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    encoder_size: int
    scale: float
    qkv_bias: bool = False
    k_bias: bool = True
    out_bias: bool = False
    softcap: float | None = None

    def describe(self, *, sizes: bool = True) -> str:
        """`8 heads of 64 over the encoder`; without sizes: `cross`."""
        kv_heads = "" if self.num_kv_heads == self.num_heads else f", {self.num_kv_heads} kv heads"
        return f"{self.num_heads} heads{kv_heads} of {self.head_dim} over the encoder" if sizes else "cross"


@part
class MLASpec(MixerSpec):
    """Multi-head latent attention: q, k and v are expanded from short normed vectors. Source: arXiv:2405.04434.

    q = q_b(norm(q_a(x))), or q(x) where `q_rank` is None. kv_a(x) is a latent vector [kv_rank], which k_b and v_b
    expand to keys and values of all heads, followed by a rotated key [positions.rotary_dim] that all heads share.
    A head of q and k has `nope_dim` values without position, then `positions.rotary_dim` rotated ones. A head of v has
    `value_dim` values.
    num_heads: H. q_rank: width of q's latent vector; None: q has none. kv_rank: width of the latent vector of keys and
    values. nope_dim, value_dim: as said. scale: factor on the scores. positions: of the rotated parts. norm: of the
    latent vectors.
    bias: whether q_a, kv_a and o have biases.
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
        """Size of a cached row: the rotated key and the latent, which all heads share."""
        return self.positions.rotary_dim + self.kv_rank

    @property
    def num_kv_heads(self) -> int:
        return 1

    @property
    def window(self) -> None:
        return None

    def describe(self, *, sizes: bool = True) -> str:
        """`16 heads of 192 (values 128) from a latent 512`, followed by `features`; without sizes: `latent`."""
        if not sizes:
            return "latent"
        words = [f"{self.num_heads} heads of {self.key_dim} (values {self.value_dim}) from a latent {self.kv_rank}"]
        words += [f"q from a latent {self.q_rank}"] * (self.q_rank is not None)
        return ", ".join(words + self.features())

    def features(self) -> list[str]:
        """Words for everything besides heads."""
        return ["bias"] * self.bias

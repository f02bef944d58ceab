"""Gemma 1, 2, 3 (text) and VaultGemma: scaled embeddings, norms that store weight - 1; from Gemma 2 on also norms
after each part.
"""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names, shifted_norms
from weft.architectures.parts import (
    LLAMA_NAMES,
    SANDWICH_NORMS,
    attention,
    decoder,
    gated_mlp,
    layer_windows,
    llama_names,
    pre_norm,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.rope import has_layer_ropes
from weft.architectures.spec import AttentionSpec, BlockSpec, DecoderSpec, EmbeddingSpec, MLPSpec, QKNorm, RMSNorm, Rope
from weft.cache.masks import Bidirectional

_GGUF_NAMES = gguf_names(shifted_norms(1.0))


@architecture("GemmaForCausalLM")
def gemma(c: ConfigReader) -> DecoderSpec:
    """Gemma 1. Source: arXiv:2403.08295; config.json of google/gemma-7b."""
    norm = _norm(c)
    bias = _common(c)
    act = keys.activation(c, "hidden_activation" if c.has("hidden_activation") else "hidden_act", default="gelu")
    c.harmless("hidden_act")
    block = BlockSpec(
        mixer=attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias),
        # "gelu" in the first configs means its tanh approximation, which the weights were trained with.
        ffn=MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=True,
                    act="gelu_pytorch_tanh" if act == "gelu" else act),
        mixer_norm=norm, ffn_norm=norm,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES, embedding=_embedding(c),
                   tied=True, gguf=_GGUF_NAMES)


@architecture("Gemma2ForCausalLM")
def gemma2(c: ConfigReader) -> DecoderSpec:
    """Gemma 2. Source: arXiv:2408.00118; config.json of google/gemma-2-9b."""
    windows = layer_windows(c, sliding_window(c, default=4096), [i % 2 == 0 for i in range(keys.num_layers(c))])
    c.harmless("sliding_window_size")    # older name of sliding_window
    softcap = _nullable(c, "attn_logit_softcapping", 50.0)
    bias = _common(c)
    mixers = [
        attention(c, positions=rope(c), scale=_scale(c), qkv_bias=bias, out_bias=bias, softcap=softcap, window=window)
        for window in windows
    ]
    return _sandwich(c, mixers, logit_softcap=_nullable(c, "final_logit_softcapping", 30.0))


@architecture("Gemma3ForCausalLM", "Gemma3TextModel")
def gemma3(c: ConfigReader) -> DecoderSpec:
    """Gemma 3, text only, and EmbeddingGemma. Source: arXiv:2503.19786; config.json of google/gemma-3-1b-it."""
    every = c.positive("sliding_window_pattern", "_sliding_window_pattern", default=6)
    windows = layer_windows(c, sliding_window(c, default=4096),
                            [(i + 1) % every != 0 for i in range(keys.num_layers(c))])
    c.harmless("attn_logit_softcapping")      # a key of Gemma 2, which no code of Gemma 3 applies
    sees_both, bias = c.bool("use_bidirectional_attention", default=False), _common(c, is_causal=False)
    norm = QKNorm(norm=_norm(c))
    mixers = [
        attention(c, positions=_gemma3_rope(c, window), scale=_scale(c), qkv_bias=bias, out_bias=bias, qk_norm=norm,
                  window=window)
        for window in windows
    ]
    if sees_both:           # half of the window is on each side
        mixers = [replace(mixer, mask=Bidirectional(radius=None if window is None else window // 2))
                  for mixer, window in zip(mixers, windows, strict=True)]
    return _sandwich(c, mixers, logit_softcap=c.positive_float("final_logit_softcapping", default=None))


@architecture("VaultGemmaForCausalLM")
def vaultgemma(c: ConfigReader) -> DecoderSpec:
    """VaultGemma: Gemma 2 without the norms after each part. Source: config.json of google/vaultgemma-1b."""
    windows = layer_windows(c, sliding_window(c, default=4096), [i % 2 == 0 for i in range(keys.num_layers(c))])
    softcap, bias = _nullable(c, "attn_logit_softcapping", 50.0), c.bool("attention_bias", default=False)
    norm, ffn = _norm(c), gated_mlp(c, act="hidden_activation", default_act="gelu_pytorch_tanh")
    c.harmless("hidden_act")
    blocks = [pre_norm(attention(c, positions=rope(c), scale=_scale(c), qkv_bias=bias, out_bias=bias, softcap=softcap,
                                 window=window), ffn, norm) for window in windows]
    names = llama_names({"model.layers.{i}.pre_feedforward_layernorm": "blocks.{i}.ffn_norm"})
    return decoder(c, blocks=blocks, final_norm=norm, names=names, embedding=_embedding(c), tied=True,
                   logit_softcap=_nullable(c, "final_logit_softcapping", 30.0))


def _gemma3_rope(c: ConfigReader, window: int | None) -> Rope:
    """The rope of a layer. Layers with a window have another base and no scaling."""
    if has_layer_ropes(c):
        kind, theta = ("full_attention", 1e6) if window is None else ("sliding_attention", 1e4)
        return rope(c, theta=theta, layer_type=kind)
    c.harmless("rope_local_base_freq")
    if window is None:
        return rope(c, theta=1e6)
    return Rope(theta=c.positive_float("rope_local_base_freq", default=1e4), rotary_dim=keys.head_dim(c))


def _sandwich(c: ConfigReader, mixers: list[AttentionSpec], *, logit_softcap: float | None) -> DecoderSpec:
    norm, ffn = _norm(c), gated_mlp(c, act="hidden_activation", default_act="gelu_pytorch_tanh")
    c.harmless("hidden_act")
    blocks = [
        BlockSpec(mixer=mixer, ffn=ffn, mixer_norm=norm, ffn_norm=norm, mixer_post_norm=norm, ffn_post_norm=norm)
        for mixer in mixers
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(SANDWICH_NORMS), embedding=_embedding(c),
                   tied=True, logit_softcap=logit_softcap, gguf=_GGUF_NAMES)


def _common(c: ConfigReader, *, is_causal: bool = True) -> bool:
    """Check the keys that all three versions share. Returns whether attention has biases."""
    c.positive("head_dim")   # required: not hidden_size / num_attention_heads in this family
    if is_causal:
        c.expect("use_bidirectional_attention", None, False)
    return c.bool("attention_bias", default=False)


def _norm(c: ConfigReader) -> RMSNorm:
    return rms_norm(c, offset=1.0, cast_before_weight=False)


def _embedding(c: ConfigReader) -> EmbeddingSpec:
    return EmbeddingSpec(vocab_size=c.positive("vocab_size"), scale=keys.hidden_size(c) ** 0.5)


def _scale(c: ConfigReader) -> float:
    return c.positive("query_pre_attn_scalar", default=256) ** -0.5


def _nullable(c: ConfigReader, name: str, default: float) -> float | None:
    return c.positive_float(name, default=None if c.is_given(name) else default)

"""Granite 3 and its relatives: Llama with multipliers on embeddings, attention scores, residuals and logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weft.architectures import keys
from weft.architectures.gguf_names import Rules, gguf_names, paired_qk
from weft.architectures.names import NameMap
from weft.architectures.parts import (
    LLAMA_NAMES,
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
from weft.architectures.spec import AttentionSpec, DecoderSpec, EmbeddingSpec, MixerSpec, MLPSpec, MoESpec

SINKS = {"model.layers.{i}.self_attn.sinks": "blocks.{i}.mixer.sinks"}


@architecture("GraniteForCausalLM")
def granite(c: ConfigReader) -> DecoderSpec:
    """Granite 3. Source: arXiv:2408.13359 (maximal update parametrisation); ibm-granite/granite-3.0-8b-base."""
    ffn = gated_mlp(c, bias=c.bool("mlp_bias", default=False))
    return granite_decoder(c, granite_mixers(c), ffn, LLAMA_NAMES, gguf=paired_qk(c))


@architecture("GraniteSWAForCausalLM")
def granite_swa(c: ConfigReader) -> DecoderSpec:
    """Granite with windows and sinks. Source: `granite_swa` of Transformers."""
    ffn = gated_mlp(c, bias=c.bool("mlp_bias", default=False))
    return granite_decoder(c, windowed_mixers(c), ffn, llama_names(SINKS), tied=True)


@architecture("HyperCLOVAXForCausalLM")
def hyperclovax(c: ConfigReader) -> DecoderSpec:
    """HyperCLOVA X: Granite with norms after each part; logits are multiplied. Source: HyperCLOVAX-SEED-Think-14B."""
    ffn = gated_mlp(c, bias=c.bool("mlp_bias", default=False))
    names = llama_names({"model.layers.{i}.post_norm1": "blocks.{i}.mixer_post_norm",
                         "model.layers.{i}.post_norm2": "blocks.{i}.ffn_post_norm"})
    spec = granite_decoder(c, granite_mixers(c, is_scaled=False), ffn, names)
    norm = rms_norm(c) if c.bool("use_post_norm", default=True) else None
    blocks = tuple(replace(block, mixer_post_norm=norm, ffn_post_norm=norm) for block in spec.blocks)
    return replace(spec, blocks=blocks, head=replace(spec.head, scale=c.positive_float("logits_scaling", default=1.0)))


def granite_mixers(c: ConfigReader, *, is_scaled: bool = True) -> list[AttentionSpec]:
    """The attention of each layer. is_scaled False: without attention_multiplier, scores have the usual scale."""
    bias = c.bool("attention_bias", default=False)
    scale = c.positive_float("attention_multiplier", default=1.0 if is_scaled else None)
    return [attention(c, positions=rope(c), scale=scale, qkv_bias=bias, out_bias=bias)] * keys.num_layers(c)


def windowed_mixers(c: ConfigReader) -> list[AttentionSpec]:
    """The same with sinks, a window in three of four layers, and a base of rope for each layer; 0: no rope."""
    layers, plain = keys.num_layers(c), granite_mixers(c)
    windows = layer_windows(c, sliding_window(c, default=128), [layer % 4 != 0 for layer in range(layers)])
    positions = rope(c)
    thetas = c.list("layer_rope_theta", default=[positions.theta] * layers)
    if len(thetas) != layers or not all(theta is None or (isinstance(theta, int | float) and theta >= 0)
                                        for theta in thetas):
        raise c.error("layer_rope_theta", thetas, f"a base of at least 0, or null, for each of {layers} layers")
    return [replace(mixer, sinks=True, positions=replace(positions, theta=float(theta)) if theta else None,
                    mask=attention(c, positions=None, window=window).mask)
            for mixer, window, theta in zip(plain, windows, thetas, strict=True)]


def granite_decoder(c: ConfigReader, mixers: Sequence[MixerSpec], ffn: MLPSpec | MoESpec, names: NameMap, *,
                    tied: bool = False, gguf: Rules | None = None) -> DecoderSpec:
    """The whole model with its multipliers. tied: the family's default. gguf: its changes; None: no such files."""
    norm, residual_scale = rms_norm(c), c.positive_float("residual_multiplier", default=1.0)
    embedding = EmbeddingSpec(vocab_size=c.positive("vocab_size"),
                              scale=c.positive_float("embedding_multiplier", default=1.0), scales_given_rows=True)
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm, residual_scale=residual_scale) for mixer in mixers],
                   final_norm=norm, names=names, embedding=embedding, tied=tied,
                   logit_scale=1.0 / c.positive_float("logits_scaling", default=1.0),
                   gguf=None if gguf is None else gguf_names(gguf))

"""MiMo V2: a window, sinks and twice the KV heads in most layers; heads of v are shorter than those of q and k."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.fine_experts import FINE_EXPERTS, dense_first, sigmoid_experts
from weft.architectures.names import NameMap, PaddedHeads, Rule
from weft.architectures.parts import (
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
from weft.architectures.spec import AttentionSpec, DecoderSpec

_ATTENTION = "model.layers.{}.self_attn."


@architecture("MiMoV2FlashForCausalLM")
def mimo_v2_flash(c: ConfigReader) -> DecoderSpec:
    """MiMo V2 Flash. Source: config.json of XiaomiMiMo/MiMo-V2-Flash."""
    norm, layers = rms_norm(c, eps=1e-5), keys.num_layers(c)
    windows = layer_windows(c, sliding_window(c, default=128), [0 < layer < layers - 1 for layer in range(layers)])
    mixers = [_attention(c, window) for window in windows]
    ffns = dense_first(c, gated_mlp(c), sigmoid_experts(c), first=1)
    blocks = [pre_norm(mixer, ffn, norm) for mixer, ffn in zip(mixers, ffns, strict=True)]
    return decoder(c, blocks=blocks, final_norm=norm, names=_names(c, mixers))


def _attention(c: ConfigReader, window: int | None) -> AttentionSpec:
    bias, count = c.bool("attention_bias", default=False), keys.num_kv_heads(c)
    positions = rope(c, layer_type="full_attention" if window is None else "sliding_attention", partial=0.334)
    mixer = attention(c, positions=positions, qkv_bias=bias, window=window,
                      num_kv_heads=count if window is None else 2 * count)
    return replace(mixer, sinks=window is not None)


def _names(c: ConfigReader, mixers: list[AttentionSpec]) -> NameMap:
    """The names, with heads of v filled up to those of k; attention_value_scale becomes part of v's rows."""
    size, factor = c.positive("v_head_dim"), c.positive_float("attention_value_scale", default=1.0)
    if size > mixers[0].head_dim:
        raise c.error("v_head_dim", size, f"at most head_dim = {mixers[0].head_dim}")
    rules: dict[str, Rule] = {}
    for layer, mixer in enumerate(mixers):
        stem = _ATTENTION.format(layer)
        v = PaddedHeads(num_heads=mixer.num_kv_heads, size=size, padded=mixer.head_dim, factor=factor)
        o = PaddedHeads(num_heads=mixer.num_heads, size=size, padded=mixer.head_dim, columns=True)
        rules[stem + "v_proj"] = Rule(stem + "v_proj", (f"blocks.{layer}.mixer.v",), v)
        rules[stem + "o_proj"] = Rule(stem + "o_proj", (f"blocks.{layer}.mixer.o",), o)
    sinks = {_ATTENTION.format("{i}") + name: "blocks.{i}.mixer.sinks" for name in ("attention_sink_bias", "sinks")}
    return llama_names(FINE_EXPERTS | sinks | rules)

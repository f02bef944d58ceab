"""Mellum 2, Laguna and Flint: mixtures of experts after Qwen 3, with a window and a rope of its own in some layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weft.architectures import keys
from weft.architectures.fine_experts import FINE_EXPERTS, dense_first, mtp_layers
from weft.architectures.parts import (
    attention,
    decoder,
    experts,
    gated_mlp,
    is_sparse_layer,
    layer_windows,
    llama_names,
    pre_norm,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import AttentionSpec, DecoderSpec, MLPSpec, MoESpec, OutputGate, QKNorm

_SHARED = {f"model.layers.{{i}}.mlp.shared_expert.{name}_proj": f"blocks.{{i}}.ffn.shared.{name}"
           for name in ("gate", "up", "down")}
_LAGUNA = _SHARED | {"model.layers.{i}.self_attn.g_proj": "blocks.{i}.mixer.gate",
                     "model.layers.{i}.mlp.experts.e_score_correction_bias": "blocks.{i}.ffn.choice.bias"}


@architecture("MellumForCausalLM")
def mellum(c: ConfigReader) -> DecoderSpec:
    """Mellum 2. Source: config.json of JetBrains/Mellum2-12B-A2.5B-Base."""
    sparse = experts(c, expert=gated_mlp(c, size="moe_intermediate_size"), per_token=8,
                     renormalize=c.bool("norm_topk_prob", default=True))
    c.harmless("mtp_layer_types", "mtp_mlp_layer_types")
    mixers = [_attention(c, window) for window in _windows(c, 1024)]
    return _decoder(c, mixers, dense_first(c, gated_mlp(c), sparse, first=0), {}, ignored_prefixes=mtp_layers(c))


@architecture("LagunaForCausalLM")
def laguna(c: ConfigReader) -> DecoderSpec:
    """Laguna: gated attention, a number of heads for each layer, sigmoid scores. Source: poolside/Laguna-XS.2."""
    c.expect("moe_apply_router_weight_on_input", False, default=False)
    gating, expert = c.value("gating"), gated_mlp(c, size="moe_intermediate_size")
    c.expect("gating", True, "per-head", "per-element", default=True)
    sparse = replace(
        experts(c, expert=expert, renormalize=True, per_token=8,
                shared=gated_mlp(c, size="shared_expert_intermediate_size")),
        scores="sigmoid", choice_bias=True, scale=c.positive_float("moe_routed_scaling_factor", default=1.0),
        router_softcap=c.float("moe_router_logit_softcapping", default=0.0) or None)
    gate = OutputGate(per="value" if gating == "per-element" else "head", act="softplus")
    layers = keys.num_layers(c)
    heads = c.list("num_attention_heads_per_layer", default=None) or [keys.num_heads(c)] * layers
    if len(heads) != layers or any(not isinstance(n, int) or n < 1 or n % keys.num_kv_heads(c) for n in heads):
        raise c.error("num_attention_heads_per_layer", heads, f"a multiple of num_key_value_heads for each of {layers} "
                                                              "layers")
    mixers = [replace(_attention(c, window), gate=gate, num_heads=count)
              for window, count in zip(_windows(c, 512), heads, strict=True)]
    return _decoder(c, mixers, dense_first(c, gated_mlp(c), sparse, first=1), _LAGUNA)


@architecture("FlintForCausalLM")
def flint(c: ConfigReader) -> DecoderSpec:
    """Flint: sinks, positions only in layers with a window, a shared expert. Source: `flint` of Transformers."""
    expert = gated_mlp(c, size="moe_intermediate_size")
    sparse = replace(
        experts(c, expert=expert, per_token=6, renormalize=c.bool("norm_topk_prob", default=True),
                shared=gated_mlp(c, size="shared_expert_intermediate_size")), scores="sigmoid")
    layers = keys.num_layers(c)
    windows = layer_windows(c, sliding_window(c, default=513),
                            [i >= 2 and i % 4 != 1 and i != layers - 1 for i in range(layers)])
    dense = gated_mlp(c)
    ffns = [sparse if is_sparse_layer(c, layer) else dense for layer in range(layers)]
    mixers = [replace(mixer, sinks=True, positions=mixer.positions if mixer.window else None)
              for mixer in (_attention(c, window) for window in windows)]
    names = _SHARED | {"model.layers.{i}.self_attn.softmax_offset": "blocks.{i}.mixer.sinks",
                       "model.layers.{i}.self_attn.sinks": "blocks.{i}.mixer.sinks"}
    return _decoder(c, mixers, ffns, names)


def _windows(c: ConfigReader, default: int) -> list[int | None]:
    return layer_windows(c, sliding_window(c, default=default), [False] * keys.num_layers(c))


def _attention(c: ConfigReader, window: int | None) -> AttentionSpec:
    bias = c.bool("attention_bias", default=False)
    positions = rope(c, layer_type="full_attention" if window is None else "sliding_attention")
    return attention(c, positions=positions, qkv_bias=bias, out_bias=bias, qk_norm=QKNorm(norm=rms_norm(c)),
                     window=window)


def _decoder(c: ConfigReader, mixers: Sequence[AttentionSpec], ffns: Sequence[MLPSpec | MoESpec], names: dict[str, str],
             *, ignored_prefixes: tuple[str, ...] = ()) -> DecoderSpec:
    norm = rms_norm(c)
    blocks = [pre_norm(mixer, ffn, norm) for mixer, ffn in zip(mixers, ffns, strict=True)]
    return decoder(c, blocks=blocks, final_norm=norm,
                   names=llama_names(FINE_EXPERTS | names, ignored_prefixes=ignored_prefixes))

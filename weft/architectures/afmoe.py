"""Arcee's AFMoE (Trinity): gated attention, norms around each part, no positions in layers without a window."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.fine_experts import FINE_EXPERTS, dense_first, fine_experts
from weft.architectures.parts import (
    attention,
    decoder,
    full_every,
    gated_mlp,
    layer_windows,
    llama_names,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import AttentionSpec, BlockSpec, DecoderSpec, EmbeddingSpec, OutputGate, QKNorm

_LAYER = "model.layers.{i}."
_NAMES = llama_names(FINE_EXPERTS | {
    _LAYER + "post_attention_layernorm": "blocks.{i}.mixer_post_norm",
    _LAYER + "pre_mlp_layernorm": "blocks.{i}.ffn_norm",
    _LAYER + "post_mlp_layernorm": "blocks.{i}.ffn_post_norm",
    _LAYER + "self_attn.gate_proj": "blocks.{i}.mixer.gate",
    _LAYER + "mlp.router.gate": "blocks.{i}.ffn.router",
    _LAYER + "mlp.expert_bias": "blocks.{i}.ffn.choice.bias",
})


@architecture("AfmoeForCausalLM")
def afmoe(c: ConfigReader) -> DecoderSpec:
    """AFMoE. Source: config.json of arcee-ai/Trinity-Mini."""
    norm = rms_norm(c, eps=1e-5, cast_before_weight=False)
    for name, value in (("score_func", "sigmoid"), ("route_norm", True), ("n_group", 1), ("topk_group", 1)):
        c.expect(name, value, default=value)
    sparse = replace(fine_experts(c, renormalize=True, scale=1.0, group_best=None), scores="sigmoid", choice_bias=True,
                     scale=c.positive_float("route_scale", default=1.0))
    ffns = dense_first(c, gated_mlp(c), sparse, first=1, key="num_dense_layers")
    windows = layer_windows(c, sliding_window(c, default=1024), full_every(c, 4))
    c.harmless("global_attn_every_n_layers", "load_balance_coeff", "use_grouped_mm", "num_expert_groups",
               "num_limited_groups")
    blocks = [BlockSpec(mixer=_attention(c, window), ffn=ffn, mixer_norm=norm, ffn_norm=norm, mixer_post_norm=norm,
                        ffn_post_norm=norm) for window, ffn in zip(windows, ffns, strict=True)]
    scale = keys.hidden_size(c) ** 0.5 if c.bool("mup_enabled", default=False) else 1.0
    return decoder(c, blocks=blocks, final_norm=norm, names=_NAMES,
                   embedding=EmbeddingSpec(vocab_size=c.positive("vocab_size"), scale=scale, scales_given_rows=True))


def _attention(c: ConfigReader, window: int | None) -> AttentionSpec:
    bias = c.bool("attention_bias", default=False)
    qk_norm = QKNorm(norm=rms_norm(c, eps=1e-5, cast_before_weight=False))
    mixer = attention(c, positions=None if window is None else rope(c), qkv_bias=bias, out_bias=bias, qk_norm=qk_norm,
                      window=window)
    return replace(mixer, gate=OutputGate())

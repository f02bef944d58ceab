"""gpt-oss: attention with sinks, experts with biases and a clamped gate, a window in every second layer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from weft.architectures import keys
from weft.architectures.fine_experts import stacked
from weft.architectures.names import NameMap
from weft.architectures.parts import (
    attention,
    decoder,
    experts,
    layer_windows,
    llama_names,
    pre_norm,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import ClampedGLU, DecoderSpec, MLPSpec, MoESpec


@architecture("GptOssForCausalLM")
def gpt_oss(c: ConfigReader) -> DecoderSpec:
    """gpt-oss. Source: arXiv:2508.10925; config.json of openai/gpt-oss-20b."""
    norm, bias = rms_norm(c, eps=1e-5, cast_before_weight=False), c.bool("attention_bias", default=True)
    windows = layer_windows(c, sliding_window(c, default=128), [i % 2 == 0 for i in range(keys.num_layers(c))])
    positions = rope(c, theta=150000.0)
    c.expect("hidden_act", "silu")
    c.harmless("swiglu_clamp", "experts_per_token", "initial_context_length")
    gate = ClampedGLU(limit=c.positive_float("swiglu_limit", default=7.0), up_offset=1.0,
                      alpha=c.float("swiglu_alpha", default=1.702))
    expert = MLPSpec(intermediate_size=c.positive("intermediate_size"), act=gate, gated=True, bias=True)
    ffn = replace(experts(c, expert=expert, renormalize=True, per_token=4), router_bias=True)
    blocks = [pre_norm(replace(attention(c, positions=positions, qkv_bias=bias, out_bias=bias, window=window),
                               sinks=True), ffn, norm) for window in windows]
    return decoder(c, blocks=blocks, final_norm=norm, names=_names(ffn))


def _names(moe: MoESpec) -> NameMap:
    experts = "model.layers.{i}.mlp.experts."
    stored = partial(stacked, moe, interleaved=True, transposed=True)
    return llama_names({
        "model.layers.{i}.mlp.router": "blocks.{i}.ffn.router",
        "model.layers.{i}.self_attn.sinks": "blocks.{i}.mixer.sinks",
        **stored(experts + "gate_up_proj", experts + "down_proj"),
        **stored(experts + "gate_up_proj_bias", experts + "down_proj_bias", suffix=".bias"),
    })

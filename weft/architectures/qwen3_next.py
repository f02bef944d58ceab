"""Qwen3-Next and Qwen3.5: the gated delta rule in three of four layers, gated attention in the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weft.architectures import keys
from weft.architectures.hybrid import ATTENTION, STATE, layer_kinds
from weft.architectures.names import ChannelKernels, HeadRows, NameMap, Rule
from weft.architectures.parts import (
    QWEN_EXPERTS,
    attention,
    decoder,
    experts,
    gated_mlp,
    is_sparse_layer,
    llama_names,
    rms_norm,
    rope,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import (
    AttentionSpec,
    BlockSpec,
    DecoderSpec,
    FfnSpec,
    GatedDeltaSpec,
    MoESpec,
    OutputGate,
    QKNorm,
    RMSNorm,
)

_DELTA, _MIXER = "model.layers.{i}.linear_attn.", "blocks.{i}.mixer."


@architecture("Qwen3NextForCausalLM")
def qwen3_next(c: ConfigReader) -> DecoderSpec:
    """Qwen3-Next. Source: config.json of Qwen/Qwen3-Next-80B-A3B-Instruct."""
    moe, dense = _experts(c, renormalize=c.bool("norm_topk_prob", default=True), per_token=10), gated_mlp(c)
    ffns = [moe if is_sparse_layer(c, i) else dense for i in range(keys.num_layers(c))]
    c.harmless("decoder_sparse_step")                                    # where mlp_only_layers has all layers
    return _decoder(c, ffns, by_key_head=True)


@architecture("Qwen3_5ForCausalLM")
def qwen3_5(c: ConfigReader) -> DecoderSpec:
    """Qwen3.5, dense. Source: config.json of Qwen/Qwen3.5-27B."""
    return _decoder(c, [gated_mlp(c)] * keys.num_layers(c))


@architecture("Qwen3_5MoeForCausalLM")
def qwen3_5_moe(c: ConfigReader) -> DecoderSpec:
    """Qwen3.5, mixture of experts. Source: config.json of Qwen/Qwen3.5-35B-A3B."""
    return _decoder(c, [_experts(c, renormalize=True, per_token=8)] * keys.num_layers(c))


def _experts(c: ConfigReader, *, renormalize: bool, per_token: int) -> MoESpec:
    expert = gated_mlp(c, size="moe_intermediate_size")
    size = c.positive("shared_expert_intermediate_size", default=512)
    return experts(c, expert=expert, renormalize=renormalize, per_token=per_token,
                   shared=replace(expert, intermediate_size=size), shared_gate=True)


def _decoder(c: ConfigReader, ffns: Sequence[FfnSpec], *, by_key_head: bool = False) -> DecoderSpec:
    """by_key_head: rows of the delta rule's products are stored key head by key head."""
    norm = rms_norm(c, offset=1.0, cast_before_weight=False)
    every, layers = c.positive("full_attention_interval", default=4), keys.num_layers(c)
    kinds = layer_kinds(c, default=[STATE if (layer + 1) % every else ATTENTION for layer in range(layers)])
    delta = _delta(c, norm)
    mixers = {ATTENTION: _attention(c, norm), STATE: delta}
    blocks = [BlockSpec(mixer=mixers[kind], ffn=ffn, mixer_norm=norm, ffn_norm=norm)
              for kind, ffn in zip(kinds, ffns, strict=True)]
    return decoder(c, blocks=blocks, final_norm=norm, names=_names(mixers[ATTENTION], delta, by_key_head=by_key_head))


def _attention(c: ConfigReader, norm: RMSNorm) -> AttentionSpec:
    bias = c.bool("attention_bias", default=False)
    mixer = attention(c, positions=rope(c, partial=0.25), qkv_bias=bias, out_bias=bias, qk_norm=QKNorm(norm=norm))
    return replace(mixer, gate=OutputGate(bias=bias))


def _delta(c: ConfigReader, norm: RMSNorm) -> GatedDeltaSpec:
    heads = c.positive("linear_num_value_heads", default=32)
    key_heads = c.positive("linear_num_key_heads", default=16)
    if heads % key_heads:
        raise c.error("linear_num_key_heads", key_heads, f"a divisor of linear_num_value_heads = {heads}")
    return GatedDeltaSpec(
        num_heads=heads, num_key_heads=key_heads, key_dim=c.positive("linear_key_head_dim", default=128),
        value_dim=c.positive("linear_value_head_dim", default=128), act=keys.activation(c), norm_eps=norm.eps,
        conv_size=c.positive("linear_conv_kernel_dim", default=4))


def _names(mixer: AttentionSpec, delta: GatedDeltaSpec, *, by_key_head: bool) -> NameMap:
    def rule(source: str, homes: tuple[str, ...], layout: HeadRows | ChannelKernels) -> dict[str, Rule]:
        return {source: Rule(source, tuple(_MIXER + home for home in homes), layout)}

    group = delta.num_heads // delta.num_key_heads
    values, heads = group * delta.value_dim, delta.num_key_heads
    rules = rule("model.layers.{i}.self_attn.q_proj", ("q", "gate"),
                 HeadRows(num_heads=mixer.num_heads, sizes=(mixer.head_dim, mixer.head_dim)))
    rules |= rule(_DELTA + "conv1d", ("conv.q", "conv.k", "conv.v"), ChannelKernels())
    if by_key_head:
        sizes = (delta.key_dim, delta.key_dim, values, values)
        rules |= rule(_DELTA + "in_proj_qkvz", ("q", "k", "v", "z"), HeadRows(num_heads=heads, sizes=sizes))
        rules |= rule(_DELTA + "in_proj_ba", ("b", "a"), HeadRows(num_heads=heads, sizes=(group, group)))
    return llama_names(QWEN_EXPERTS | rules | {
        _DELTA + "in_proj_qkv": (_MIXER + "q", _MIXER + "k", _MIXER + "v"),
        **{_DELTA + name: _MIXER + home for name, home in (
            ("in_proj_z", "z"), ("in_proj_a", "a"), ("in_proj_b", "b"), ("A_log", "a_log"), ("dt_bias", "dt.bias"),
            ("norm", "norm"), ("out_proj", "o"))},
        **{f"model.layers.{{i}}.mlp.shared_expert.{part}_proj": f"blocks.{{i}}.ffn.shared.{part}"
           for part in ("gate", "up", "down")},
        "model.layers.{i}.mlp.shared_expert_gate": "blocks.{i}.ffn.shared_gate",
    }, ignored_prefixes=("mtp.",))

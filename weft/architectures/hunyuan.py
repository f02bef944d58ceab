"""HunYuan V1, dense and mixture of experts: Llama with norms of q and k after the rotation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.architectures import keys
from weft.architectures.fine_experts import FINE_EXPERTS, dense_first, fine_experts
from weft.architectures.gguf_names import gguf_names, shared_expert, stacked_experts
from weft.architectures.parts import (
    QWEN_EXPERTS,
    attention,
    decoder,
    gated_mlp,
    llama_names,
    pre_norm,
    rms_norm,
    rope,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import AttentionSpec, DecoderSpec, MoESpec, QKNorm

_NORMS = {"model.layers.{i}.self_attn.query_layernorm": "blocks.{i}.mixer.q_norm",
          "model.layers.{i}.self_attn.key_layernorm": "blocks.{i}.mixer.k_norm"}
_EXPERTS = QWEN_EXPERTS | {"model.layers.{i}.mlp.gate.wg": "blocks.{i}.ffn.router"} | {
    f"model.layers.{{i}}.mlp.shared_mlp.{name}_proj": f"blocks.{{i}}.ffn.shared.{name}"
    for name in ("gate", "up", "down")}


@architecture("HunYuanDenseV1ForCausalLM")
def hunyuan_dense(c: ConfigReader) -> DecoderSpec:
    """HunYuan V1, dense. Source: config.json of tencent/Hunyuan-7B-Instruct."""
    norm = rms_norm(c, eps=1e-5)
    block = pre_norm(_attention(c), gated_mlp(c), norm)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=llama_names(_NORMS),
                   gguf=gguf_names())


@architecture("HunYuanMoEV1ForCausalLM")
def hunyuan_moe(c: ConfigReader) -> DecoderSpec:
    """HunYuan V1, mixture of experts with a shared one. Source: config.json of tencent/Hunyuan-A13B-Instruct."""
    norm, mlp, mixer = rms_norm(c, eps=1e-5), gated_mlp(c), _attention(c)
    for key, value in (("moe_intermediate_size", mlp.intermediate_size), ("num_shared_expert", 1)):
        _expect_in_all(c, key, value)
    c.expect("moe_layer_num_skipped", 0, default=0)
    c.expect("norm_topk_prob", True, default=True)
    c.expect("moe_drop_tokens", False, default=False)
    c.expect("use_mixed_mlp_moe", True, default=True)
    counts, picked = _by_layer(c, "num_experts"), _by_layer(c, "moe_topk")
    if any(top > count for top, count in zip(picked, counts, strict=True)):
        raise c.error("moe_topk", c.value("moe_topk"), f"at most num_experts = {c.value('num_experts')}")
    ffns = [MoESpec(num_experts=count, num_experts_per_token=top, expert=mlp, renormalize=True, shared=mlp)
            for count, top in zip(counts, picked, strict=True)]
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm) for ffn in ffns], final_norm=norm,
                   names=llama_names(_NORMS | _EXPERTS), gguf=gguf_names(stacked_experts(counts[0]), shared_expert()))


@architecture("HYV3ForCausalLM")
def hy_v3(c: ConfigReader) -> DecoderSpec:
    """HunYuan 3: norms of q and k before the rotation, biased sigmoid scores. Source: `hy_v3` of Transformers."""
    norm, bias = rms_norm(c, eps=1e-5), c.bool("attention_bias", default=False)
    c.harmless("enable_moe_fp32_combine")
    mixer = attention(c, positions=rope(c, theta=11158840.0), qkv_bias=bias, out_bias=bias, qk_norm=QKNorm(norm=norm))
    dense = gated_mlp(c, bias=c.bool("mlp_bias", default=False))
    sparse = replace(fine_experts(c, renormalize=True, scale=1.0, group_best=None), scores="sigmoid", choice_bias=True,
                     scale=c.positive_float("router_scaling_factor", default=2.826))
    blocks = [pre_norm(mixer, ffn, norm) for ffn in dense_first(c, dense, sparse, first=1)]
    names = FINE_EXPERTS | _EXPERTS | {"model.layers.{i}.mlp.router.gate": "blocks.{i}.ffn.router",
                                       "model.layers.{i}.mlp.expert_bias": "blocks.{i}.ffn.choice.bias"}
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(names))


def _attention(c: ConfigReader) -> AttentionSpec:
    c.expect("use_cla", False, default=False)
    c.expect("use_qk_norm", True, default=True)
    c.harmless("eod_token_id", "cla_share_factor", "sep_token_id", "attention_head_dim", "im_end_id", "im_start_id")
    bias = c.bool("attention_bias", default=False)
    qk_norm = QKNorm(norm=rms_norm(c, eps=1e-5), after_rotation=True)
    return attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias, qk_norm=qk_norm)


def _by_layer(c: ConfigReader, name: str) -> list[int]:
    """A count for each layer, [L], which the config gives as one number or as a list. The default is 1."""
    layers, value = keys.num_layers(c), c.value(name)
    if not isinstance(value, list | tuple):
        return [c.positive(name, default=1)] * layers
    counts = c.list(name)
    if len(counts) != layers or not all(type(count) is int and count > 0 for count in counts):
        raise c.error(name, counts, f"a count of at least 1 for each of num_hidden_layers = {layers} layers")
    return list(counts)


def _expect_in_all(c: ConfigReader, name: str, wanted: Any) -> None:
    """ConfigError unless a key that may be given for each layer has one value in all of them."""
    value = c.value(name)
    if value is None:
        return
    c.harmless(name)
    if any(each != wanted for each in (value if isinstance(value, list | tuple) else [value])):
        raise c.error(name, value, f"{wanted} in all layers")

"""ERNIE 4.5, dense and mixture of experts: Llama with rope on neighbouring pairs; experts chosen by biased scores."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.fine_experts import FINE_EXPERTS
from weft.architectures.gguf_names import gguf_names, shared_expert, stacked_experts
from weft.architectures.names import Rule, VectorAsRow
from weft.architectures.parts import (
    LLAMA_NAMES,
    attention,
    decoder,
    experts,
    gated_mlp,
    llama_names,
    pre_norm,
    rms_norm,
    rope,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import AttentionSpec, DecoderSpec, MoESpec

_STORED_BIAS = "model.layers.{i}.mlp.moe_statics.e_score_correction_bias"
_CHOICE = {_STORED_BIAS: Rule(_STORED_BIAS, ("blocks.{i}.ffn.choice.bias",), VectorAsRow())}


@architecture("Ernie4_5ForCausalLM")
def ernie4_5(c: ConfigReader) -> DecoderSpec:
    """ERNIE 4.5, dense. Source: config.json of baidu/ERNIE-4.5-0.3B-PT."""
    norm = rms_norm(c, eps=1e-5)
    block = pre_norm(_attention(c), gated_mlp(c, bias=c.bool("use_bias", default=False)), norm)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES, tied=True,
                   gguf=gguf_names())


@architecture("Ernie4_5_MoeForCausalLM")
def ernie4_5_moe(c: ConfigReader) -> DecoderSpec:
    """ERNIE 4.5, mixture of experts. Source: config.json of baidu/ERNIE-4.5-21B-A3B-PT."""
    norm, dense, sparse = rms_norm(c, eps=1e-5), gated_mlp(c, bias=c.bool("use_bias", default=False)), _experts(c)
    layers, every = keys.num_layers(c), c.positive("moe_layer_interval", default=1)
    first, last = c.count("moe_layer_start_index", default=1), c.int("moe_layer_end_index", default=-1)
    last = layers - 1 if last == -1 else last
    blocks = [pre_norm(_attention(c), sparse if (i + 1) % every == 0 and first <= i <= last else dense, norm)
              for i in range(layers)]
    return decoder(c, blocks=blocks, final_norm=norm, tied=True,
                   names=llama_names(FINE_EXPERTS | _CHOICE, ignored_prefixes=("model.mtp_",)),
                   gguf=gguf_names({"blk.{i}.exp_probs_b": "blocks.{i}.ffn.choice"},
                                   stacked_experts(sparse.num_experts), shared_expert()))


def _attention(c: ConfigReader) -> AttentionSpec:
    bias = c.bool("use_bias", default=False)
    return attention(c, positions=rope(c, theta=5e5, interleaved=True), qkv_bias=bias, out_bias=bias)


def _experts(c: ConfigReader) -> MoESpec:
    expert = gated_mlp(c, size="moe_intermediate_size", bias=c.bool("use_bias", default=False))
    least = c.float("moe_norm_min", default=1e-12)
    if least > 1e-6:                # a sum of the largest scores of a softmax is never as small
        raise c.error("moe_norm_min", least, "at most 1e-06")
    count = c.count("moe_num_shared_experts", default=2)
    shared = replace(expert, intermediate_size=count * expert.intermediate_size) if count > 0 else None
    moe = experts(c, expert=replace(expert, bias=False), renormalize=True, per_token=6, shared=shared)
    return replace(moe, choice_bias=True)

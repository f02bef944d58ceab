"""OLMoE: OLMo's mixture of experts, with norms over all of q and k; FlexOlmo: OLMo 2's."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names, stacked_experts
from weft.architectures.parts import (
    QWEN_EXPERTS,
    SANDWICH_NORMS,
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
from weft.architectures.spec import BlockSpec, DecoderSpec, QKNorm


@architecture("OlmoeForCausalLM")
def olmoe(c: ConfigReader) -> DecoderSpec:
    """OLMoE. Source: arXiv:2409.02060; config.json of allenai/OLMoE-1B-7B-0924."""
    norm, bias = rms_norm(c, eps=1e-5), c.bool("attention_bias", default=False)
    mixer = attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias, qk_norm=QKNorm(norm=norm, scope="all"),
                      clip=c.positive_float("clip_qkv", default=None))
    ffn = experts(c, expert=gated_mlp(c), renormalize=c.bool("norm_topk_prob", default=False), per_token=8)
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm,
                   names=llama_names(QWEN_EXPERTS), gguf=gguf_names(stacked_experts(ffn.num_experts)))


@architecture("FlexOlmoForCausalLM")
def flex_olmo(c: ConfigReader) -> DecoderSpec:
    """FlexOlmo. Source: arXiv:2507.07024; config.json of allenai/FlexOlmo-7x7B-1T."""
    norm, bias = rms_norm(c, cast_before_weight=False), c.bool("attention_bias", default=False)
    block = BlockSpec(
        mixer=attention(c, positions=rope(c, theta=5e5), qkv_bias=bias, out_bias=bias,
                        qk_norm=QKNorm(norm=norm, scope="all")),
        ffn=experts(c, expert=gated_mlp(c), renormalize=c.bool("norm_topk_prob", default=False), per_token=5),
        mixer_norm=None, ffn_norm=None, mixer_post_norm=norm, ffn_post_norm=norm,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm,
                   names=llama_names(QWEN_EXPERTS | SANDWICH_NORMS))

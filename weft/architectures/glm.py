"""GLM-4 and 4.5: rope on neighbouring pairs of half of each head; the 0414 models also have norms after each part."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.fine_experts import FINE_EXPERTS, dense_first, mtp_layers, sigmoid_experts
from weft.architectures.gguf_names import GGUF_FUSED_QKV, GGUF_POST_NORMS, gguf_names, shared_expert, stacked_experts
from weft.architectures.parts import attention, decoder, gated_mlp, llama_names, pre_norm, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import AttentionSpec, BlockSpec, DecoderSpec, QKNorm

_FUSED = {"model.layers.{i}.mlp.gate_up_proj": ("blocks.{i}.ffn.gate", "blocks.{i}.ffn.up")}
_POST_NORMS = {
    "model.layers.{i}.post_self_attn_layernorm": "blocks.{i}.mixer_post_norm",
    "model.layers.{i}.post_mlp_layernorm": "blocks.{i}.ffn_post_norm",
}
# Sarvam's checkpoints of GLM-4.5's class have names of their own.
_SARVAM = {
    "model.word_embeddings": "embedding.tokens",
    "model.layers.{i}.attention.query_key_value": ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v"),
    "model.layers.{i}.attention.dense": "blocks.{i}.mixer.o",
    "model.layers.{i}.attention.query_layernorm": "blocks.{i}.mixer.q_norm",
    "model.layers.{i}.attention.key_layernorm": "blocks.{i}.mixer.k_norm",
    "model.layers.{i}.mlp.gate.expert_bias": "blocks.{i}.ffn.choice.bias",
}
_GGUF_FUSED = {"blk.{i}.ffn_up": ("blocks.{i}.ffn.gate", "blocks.{i}.ffn.up")}


@architecture("GlmForCausalLM")
def glm(c: ConfigReader) -> DecoderSpec:
    """GLM-4. Source: arXiv:2406.12793; config.json of THUDM/glm-4-9b-chat-hf."""
    norm = rms_norm(c, eps=1.5625e-7)
    block = BlockSpec(mixer=_attention(c), ffn=gated_mlp(c), mixer_norm=norm, ffn_norm=norm)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=llama_names(_FUSED),
                   gguf=gguf_names(GGUF_FUSED_QKV, _GGUF_FUSED))


@architecture("Glm4ForCausalLM")
def glm4(c: ConfigReader) -> DecoderSpec:
    """GLM-4-0414 and GLM-Z1. Source: config.json of THUDM/GLM-4-32B-0414."""
    norm = rms_norm(c, eps=1.5625e-7)
    block = BlockSpec(mixer=_attention(c), ffn=gated_mlp(c), mixer_norm=norm, ffn_norm=norm, mixer_post_norm=norm,
                      ffn_post_norm=norm)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=llama_names(_FUSED | _POST_NORMS),
                   gguf=gguf_names(GGUF_POST_NORMS, _GGUF_FUSED))


@architecture("Glm4MoeForCausalLM")
def glm4_moe(c: ConfigReader) -> DecoderSpec:
    """GLM-4.5 and 4.6, mixture of experts: rope on half of each head, in halves. Source: arXiv:2508.06471."""
    norm = rms_norm(c, eps=1e-5)
    qk_norm = QKNorm(norm=norm) if c.bool("use_qk_norm", default=False) else None
    mixer = attention(c, positions=rope(c, partial=0.5), qkv_bias=c.bool("attention_bias", default=False),
                      qk_norm=qk_norm)
    sparse = sigmoid_experts(c)
    blocks = [pre_norm(mixer, ffn, norm) for ffn in dense_first(c, gated_mlp(c), sparse, first=1)]
    drafts = mtp_layers(c)
    return decoder(c, blocks=blocks, final_norm=norm,
                   names=llama_names(FINE_EXPERTS | _SARVAM, ignored_prefixes=drafts),
                   gguf=gguf_names({"blk.{i}.post_attention_norm": "blocks.{i}.ffn_norm",
                                    "blk.{i}.exp_probs_b": "blocks.{i}.ffn.choice"},
                                   stacked_experts(sparse.num_experts), shared_expert(),
                                   ignored_prefixes=tuple(name.replace("model.layers.", "blk.") for name in drafts)))


@architecture("SolarOpenForCausalLM")
def solar_open(c: ConfigReader) -> DecoderSpec:
    """Solar Open: GLM-4.5 with experts in each layer, rope on whole heads. Source: upstage/Solar-Open-100B."""
    norm, sparse = rms_norm(c, eps=1e-5), sigmoid_experts(c)
    mixer = attention(c, positions=rope(c, theta=1e6), qkv_bias=c.bool("attention_bias", default=False))
    return decoder(c, blocks=[pre_norm(mixer, sparse, norm)] * keys.num_layers(c), final_norm=norm,
                   names=llama_names(FINE_EXPERTS))


def _attention(c: ConfigReader) -> AttentionSpec:
    bias = c.bool("attention_bias", default=True)
    return attention(c, positions=rope(c, partial=0.5, interleaved=True), qkv_bias=bias)

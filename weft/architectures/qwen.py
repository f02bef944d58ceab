"""Qwen v1: Llama with fused, biased qkv. gate and up have intermediate_size / 2 rows each."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import GGUF_FUSED_QKV, gguf_names
from weft.architectures.names import names
from weft.architectures.parts import decoder, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import AttentionSpec, BlockSpec, Causal, DecoderSpec, MLPSpec, RMSNorm

_LAYER = "transformer.h.{i}."
_NAMES = names({
    _LAYER + "ln_1": "blocks.{i}.mixer_norm",
    _LAYER + "ln_2": "blocks.{i}.ffn_norm",
    _LAYER + "attn.c_attn": ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v"),
    _LAYER + "attn.c_proj": "blocks.{i}.mixer.o",
    _LAYER + "mlp.w1": "blocks.{i}.ffn.up",
    _LAYER + "mlp.w2": "blocks.{i}.ffn.gate",
    _LAYER + "mlp.c_proj": "blocks.{i}.ffn.down",
    "transformer.wte": "embedding.tokens",
    "transformer.ln_f": "final_norm",
    "lm_head": "head",
}, optional_prefix="transformer.", ignored=("transformer.rotary_emb.inv_freq", _LAYER + "attn.masked_bias"))


@architecture("QWenLMHeadModel")
def qwen(c: ConfigReader) -> DecoderSpec:
    """Qwen v1. Source: arXiv:2309.16609; config.json of Qwen/Qwen-7B."""
    norm = RMSNorm(eps=c.positive_float("layer_norm_epsilon", default=1e-6))
    bias = not c.bool("no_bias", default=True)
    heads, size = keys.num_heads(c), c.positive("kv_channels", default=128)
    c.expect("scale_attn_weights", True)
    c.harmless("bf16", "fp16", "fp32", "onnx_safe", "softmax_in_fp32", "tokenizer_type", "use_flash_attn",
               "use_cache_kernel", "use_cache_quantization", "attn_dropout_prob", "emb_dropout_prob")
    # Dynamic NTK and logn attention, which weft has no code for, act only beyond the trained length seq_length. A model
    # with one of them is limited to that length.
    trained = c.positive("seq_length", "max_position_embeddings", default=8192)
    stretched = c.bool("use_dynamic_ntk", default=False) or c.bool("use_logn_attn", default=False)
    c.harmless("use_logn_attn")
    block = BlockSpec(
        mixer=AttentionSpec(num_heads=heads, num_kv_heads=heads, head_dim=size, scale=size ** -0.5, mask=Causal(),
                            positions=rope(c, head_dim=size), qkv_bias=True, out_bias=bias),
        ffn=MLPSpec(intermediate_size=c.positive("intermediate_size") // 2, act="silu", gated=True, bias=bias),
        mixer_norm=norm,
        ffn_norm=norm,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=_NAMES,
                   gguf=gguf_names(GGUF_FUSED_QKV), max_position=trained if stretched else None)

"""GPT-BigCode (SantaCoder, StarCoder 1): GPT-2 with one KV head and matrices stored [out, in]."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import GGUF_FUSED_QKV, gguf_names
from weft.architectures.names import GroupedQKV, NameMap, Rule, names
from weft.architectures.parts import attention, decoder, layer_norm, pre_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, EmbeddingSpec, LearnedPositions, MLPSpec


@architecture("GPTBigCodeForCausalLM")
def gpt_bigcode(c: ConfigReader) -> DecoderSpec:
    """GPT-BigCode, StarCoder 1. Source: arXiv:2301.03988, arXiv:2305.06161; config.json of bigcode/starcoder."""
    norm, heads = layer_norm(c), keys.num_heads(c)
    c.expect("add_cross_attention", False)
    c.harmless("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "num_key_value_heads", "n_ctx",
               "inference_runner", "validate_runner_input", "pre_allocate_kv_cache", "max_batch_size",
               "max_sequence_length", "pad_key_length")
    kv_heads = 1 if c.bool("multi_query", default=True) else heads
    scale = keys.head_dim(c) ** -0.5 if c.bool("scale_attn_weights", default=True) else 1.0
    mixer = attention(c, positions=None, num_kv_heads=kv_heads, qkv_bias=True, out_bias=True, scale=scale)
    ffn = MLPSpec(intermediate_size=c.positive("n_inner", default=4 * keys.hidden_size(c)), gated=False, bias=True,
                  act=keys.activation(c, "activation_function", default="gelu_pytorch_tanh"))
    positions = LearnedPositions(num_positions=c.positive("n_positions", "max_position_embeddings", default=1024))
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm, tied=True,
                   names=_names(c, kv_heads),
                   embedding=EmbeddingSpec(vocab_size=c.positive("vocab_size"), positions=positions),
                   gguf=gguf_names(GGUF_FUSED_QKV, {"position_embd": "embedding.positions"}))


def _names(c: ConfigReader, kv_heads: int) -> NameMap:
    layer, targets = "transformer.h.{i}.", ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
    by_head = GroupedQKV(num_groups=keys.num_heads(c), queries_per_group=1, head_dim=keys.head_dim(c))
    qkv = layer + "attn.c_attn"
    return names({
        layer + "ln_1": "blocks.{i}.mixer_norm",
        layer + "ln_2": "blocks.{i}.ffn_norm",
        qkv: targets if kv_heads == 1 else Rule(qkv, targets, by_head),
        layer + "attn.c_proj": "blocks.{i}.mixer.o",
        layer + "mlp.c_fc": "blocks.{i}.ffn.up",
        layer + "mlp.c_proj": "blocks.{i}.ffn.down",
        "transformer.wte": "embedding.tokens",
        "transformer.wpe": "embedding.positions",
        "transformer.ln_f": "final_norm",
        "lm_head": "head",
    }, optional_prefix="transformer.", ignored=(layer + "attn.bias", layer + "attn.masked_bias"))

"""Bloom: ALiBi instead of positions, a norm after the embedding, q, k and v interleaved by head."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import GGUF_FUSED_QKV, gguf_names
from weft.architectures.names import GroupedQKV, NameMap, Rule, names
from weft.architectures.parts import attention, decoder, layer_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Alibi, BlockSpec, DecoderSpec, EmbeddingSpec, MLPSpec


@architecture("BloomForCausalLM")
def bloom(c: ConfigReader) -> DecoderSpec:
    """Bloom. Source: arXiv:2211.05100; config.json of bigscience/bloom-560m."""
    norm, hidden, heads = layer_norm(c), keys.hidden_size(c), keys.num_heads(c)
    c.harmless("slow_but_exact", "attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion",
               "skip_bias_add", "skip_bias_add_qkv", "offset_alibi", "n_inner")
    block = BlockSpec(
        mixer=attention(c, positions=Alibi(), num_kv_heads=heads, qkv_bias=True, out_bias=True),
        ffn=MLPSpec(intermediate_size=4 * hidden, act="gelu_pytorch_tanh", gated=False, bias=True),
        mixer_norm=norm,
        ffn_norm=norm,
        adds_to_normed=c.bool("apply_residual_connection_post_layernorm", default=False),
    )
    embedding = EmbeddingSpec(vocab_size=c.positive("vocab_size"), norm=norm)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=_names(c), embedding=embedding,
                   tied=True, gguf=gguf_names(GGUF_FUSED_QKV, {"token_embd_norm": "embedding.norm"}))


def _names(c: ConfigReader) -> NameMap:
    layer, targets = "transformer.h.{i}.", ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
    qkv = layer + "self_attention.query_key_value"
    layout = GroupedQKV(num_groups=keys.num_heads(c), queries_per_group=1, head_dim=keys.head_dim(c))
    return names({
        layer + "input_layernorm": "blocks.{i}.mixer_norm",
        layer + "post_attention_layernorm": "blocks.{i}.ffn_norm",
        qkv: Rule(qkv, targets, layout),
        layer + "self_attention.dense": "blocks.{i}.mixer.o",
        layer + "mlp.dense_h_to_4h": "blocks.{i}.ffn.up",
        layer + "mlp.dense_4h_to_h": "blocks.{i}.ffn.down",
        "transformer.word_embeddings": "embedding.tokens",
        "transformer.word_embeddings_layernorm": "embedding.norm",
        "transformer.ln_f": "final_norm",
        "lm_head": "head",
    }, optional_prefix="transformer.")

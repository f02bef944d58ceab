"""Persimmon: LayerNorms, also on the heads of q and k, squared ReLU without a gate, q, k and v interleaved by head."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.names import GroupedQKV, NameMap, Rule
from weft.architectures.parts import attention, decoder, layer_norm, llama_names, pre_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, MLPSpec, QKNorm


@architecture("PersimmonForCausalLM")
def persimmon(c: ConfigReader) -> DecoderSpec:
    """Persimmon. Source: config.json of adept/persimmon-8b-base."""
    norm = layer_norm(c)
    qk_norm = QKNorm(norm=norm) if c.bool("qk_layernorm", default=True) else None
    mixer = attention(c, positions=rope(c, theta=25000.0, partial=0.5), num_kv_heads=keys.num_heads(c), qkv_bias=True,
                      out_bias=True, qk_norm=qk_norm)
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), act=keys.activation(c, default="relu2"),
                  gated=False, bias=True)
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm, names=_names(c))


def _names(c: ConfigReader) -> NameMap:
    layer, targets = "model.layers.{i}.", ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
    layout = GroupedQKV(num_groups=keys.num_heads(c), queries_per_group=1, head_dim=keys.head_dim(c))
    qkv = layer + "self_attn.query_key_value"
    return llama_names({
        qkv: Rule(qkv, targets, layout),
        layer + "self_attn.dense": "blocks.{i}.mixer.o",
        layer + "self_attn.q_layernorm": "blocks.{i}.mixer.q_norm",
        layer + "self_attn.k_layernorm": "blocks.{i}.mixer.k_norm",
        layer + "mlp.dense_h_to_4h": "blocks.{i}.ffn.up",
        layer + "mlp.dense_4h_to_h": "blocks.{i}.ffn.down",
        "model.final_layernorm": "final_norm",
    })

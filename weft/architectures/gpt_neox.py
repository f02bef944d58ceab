"""GPT-NeoX and Pythia: attention and MLP in parallel; q, k and v interleaved by head."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import GGUF_FUSED_QKV, gguf_names
from weft.architectures.names import GroupedQKV, NameMap, Rule, names
from weft.architectures.parts import attention, decoder, layer_norm, pre_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, MLPSpec


@architecture("GPTNeoXForCausalLM")
def gpt_neox(c: ConfigReader) -> DecoderSpec:
    """GPT-NeoX and Pythia. Source: arXiv:2204.06745; config.json of EleutherAI/pythia-1b."""
    norm = layer_norm(c)
    bias = c.bool("attention_bias", default=True)
    heads = keys.num_heads(c)
    block = BlockSpec(
        mixer=attention(c, positions=rope(c, partial=0.25), num_kv_heads=heads, qkv_bias=bias, out_bias=bias),
        ffn=MLPSpec(intermediate_size=c.positive("intermediate_size"), act=keys.activation(c, default="gelu"),
                    gated=False, bias=True),
        mixer_norm=norm,
        ffn_norm=norm,
        parallel=c.bool("use_parallel_residual", default=True),
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=_names(c),
                   gguf=gguf_names(GGUF_FUSED_QKV))


@architecture("GPTNeoXJapaneseForCausalLM")
def gpt_neox_japanese(c: ConfigReader) -> DecoderSpec:
    """GPT-NeoX Japanese: no biases but one, after the last layer's attention. Source: abeja/gpt-neox-japanese-2.7b."""
    norm, heads, layers = layer_norm(c), keys.num_heads(c), keys.num_layers(c)
    size = c.positive("intermediate_multiple_size", default=4) * keys.hidden_size(c)
    ffn = MLPSpec(intermediate_size=size, act=keys.activation(c, default="gelu"), gated=False)
    blocks = [pre_norm(attention(c, positions=rope(c), num_kv_heads=heads, out_bias=layer == layers - 1), ffn, norm)
              for layer in range(layers)]
    return decoder(c, blocks=blocks, final_norm=norm, names=_names(c, "gpt_neox_japanese."), tied=True)


def _names(c: ConfigReader, prefix: str = "gpt_neox.") -> NameMap:
    layer, targets = prefix + "layers.{i}.", ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
    qkv = layer + "attention.query_key_value"
    layout = GroupedQKV(num_groups=keys.num_heads(c), queries_per_group=1, head_dim=keys.head_dim(c))
    return names({
        layer + "input_layernorm": "blocks.{i}.mixer_norm",
        layer + "post_attention_layernorm": "blocks.{i}.ffn_norm",
        qkv: Rule(qkv, targets, layout),
        layer + "attention.dense": "blocks.{i}.mixer.o",
        layer + "attention.dense_bias": "blocks.{i}.mixer.o.bias",
        layer + "mlp.dense_h_to_4h": "blocks.{i}.ffn.up",
        layer + "mlp.dense_4h_to_h": "blocks.{i}.ffn.down",
        prefix + "embed_in": "embedding.tokens",
        prefix + "final_layer_norm": "final_norm",
        "embed_out": "head",
    }, optional_prefix=prefix,
        ignored=tuple(f"{layer}attention.{name}" for name in ("bias", "masked_bias", "rotary_emb.inv_freq")))

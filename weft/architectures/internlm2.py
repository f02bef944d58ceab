"""InternLM 2 and 2.5: Llama with q, k and v in one matrix, in groups of the heads that share keys and values."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.names import GroupedQKV, Rule, names
from weft.architectures.parts import attention, decoder, gated_mlp, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec

_LAYER = "model.layers.{i}."


@architecture("InternLM2ForCausalLM")
def internlm2(c: ConfigReader) -> DecoderSpec:
    """InternLM 2 and 2.5. Source: arXiv:2403.17297; config.json of internlm/internlm2_5-7b-chat."""
    norm, bias = rms_norm(c), c.bool("bias", default=False)
    c.expect("pretraining_tp", 1)
    heads, kv_heads = keys.num_heads(c), keys.num_kv_heads(c)
    groups = GroupedQKV(num_groups=kv_heads, queries_per_group=heads // kv_heads, head_dim=keys.head_dim(c))
    block = BlockSpec(mixer=attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias), ffn=gated_mlp(c),
                      mixer_norm=norm, ffn_norm=norm)
    qkv = Rule(_LAYER + "attention.wqkv", ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v"), groups)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=names({
        "model.tok_embeddings": "embedding.tokens", "model.norm": "final_norm", "output": "head",
        _LAYER + "attention.wqkv": qkv, _LAYER + "attention.wo": "blocks.{i}.mixer.o",
        _LAYER + "attention_norm": "blocks.{i}.mixer_norm", _LAYER + "ffn_norm": "blocks.{i}.ffn_norm",
        _LAYER + "feed_forward.w1": "blocks.{i}.ffn.gate", _LAYER + "feed_forward.w3": "blocks.{i}.ffn.up",
        _LAYER + "feed_forward.w2": "blocks.{i}.ffn.down",
    }, optional_prefix="model.", ignored=(_LAYER + "attention.rotary_emb.inv_freq",)))

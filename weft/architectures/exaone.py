"""EXAONE 3 and 3.5: Llama under GPT-2's tensor names, and with some of its keys."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names
from weft.architectures.names import names
from weft.architectures.parts import attention, decoder, gated_mlp, pre_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, RMSNorm

_LAYER = "transformer.h.{i}."
_NAMES = names({
    _LAYER + "ln_1": "blocks.{i}.mixer_norm",
    _LAYER + "ln_2": "blocks.{i}.ffn_norm",
    **{f"{_LAYER}attn.attention.{name}_proj": f"blocks.{{i}}.mixer.{name}" for name in ("q", "k", "v")},
    _LAYER + "attn.attention.out_proj": "blocks.{i}.mixer.o",
    _LAYER + "mlp.c_fc_0": "blocks.{i}.ffn.gate",
    _LAYER + "mlp.c_fc_1": "blocks.{i}.ffn.up",
    _LAYER + "mlp.c_proj": "blocks.{i}.ffn.down",
    "transformer.wte": "embedding.tokens",
    "transformer.ln_f": "final_norm",
    "lm_head": "head",
}, optional_prefix="transformer.", ignored=(_LAYER + "attn.attention.rotary.inv_freq", "transformer.rotary.inv_freq"))


@architecture("ExaoneForCausalLM")
def exaone(c: ConfigReader) -> DecoderSpec:
    """EXAONE 3 and 3.5. Source: arXiv:2408.03541; config.json of LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct."""
    norm = RMSNorm(eps=c.positive_float("rms_norm_eps", "layer_norm_epsilon", default=1e-5))
    act = "activation_function" if c.has("activation_function") else "hidden_act"
    bias = c.bool("attention_bias", default=False)
    mlp = gated_mlp(c, act=act, bias=c.bool("mlp_bias", default=False))
    c.harmless("embed_dropout")
    block = pre_norm(attention(c, positions=rope(c, theta=5e5), qkv_bias=bias, out_bias=bias), mlp, norm)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=_NAMES, gguf=gguf_names())

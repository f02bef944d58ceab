"""Apertus: Llama with norms on the heads of q and k, and an MLP without a gate whose activation xIELU is trained."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.parts import attention, decoder, llama_names, pre_norm, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import XIELU, DecoderSpec, MLPSpec, QKNorm

_NAMES = llama_names({
    "model.layers.{i}.attention_layernorm": "blocks.{i}.mixer_norm",
    "model.layers.{i}.feedforward_layernorm": "blocks.{i}.ffn_norm",
} | {f"model.layers.{{i}}.mlp.act_fn.{name}": f"blocks.{{i}}.ffn.act.{name}"
     for name in ("alpha_p", "alpha_n", "beta", "eps")})


@architecture("ApertusForCausalLM", "Apertus1p5TextForCausalLM")
def apertus(c: ConfigReader) -> DecoderSpec:
    """Apertus. Source: arXiv:2509.14233; config.json of swiss-ai/Apertus-8B-2509."""
    norm, bias = rms_norm(c, eps=1e-5), c.bool("attention_bias", default=False)
    c.expect("output_vocab_size", None, default=None)
    c.harmless("qk_norm", "post_norm", "mlp_bias")
    is_trained = c.str("hidden_act", default="xielu") == "xielu"
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=False,
                  act=XIELU() if is_trained else keys.activation(c))
    mixer = attention(c, positions=rope(c, theta=12e6), qkv_bias=bias, out_bias=bias, qk_norm=QKNorm(norm=norm))
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm, names=_NAMES)

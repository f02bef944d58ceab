"""Nemotron 4 and Minitron: LayerNorms that store weight - 1, squared ReLU without a gate, rope on half of each head."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names
from weft.architectures.names import Rule, Shifted
from weft.architectures.parts import LLAMA_NAMES, attention, decoder, pre_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, LayerNorm, MLPSpec

_GGUF_NORMS = {"output_norm": "final_norm", "blk.{i}.attn_norm": "blocks.{i}.mixer_norm",
               "blk.{i}.ffn_norm": "blocks.{i}.ffn_norm"}
_SHIFTED = {f"{source}.weight": Rule(f"{source}.weight", (f"{target}.weight",), Shifted(by=1.0))
            for source, target in _GGUF_NORMS.items()}


@architecture("NemotronForCausalLM")
def nemotron(c: ConfigReader) -> DecoderSpec:
    """Nemotron 4 and Minitron. Source: arXiv:2402.16819; config.json of nvidia/Minitron-4B-Base."""
    norm = LayerNorm(eps=c.positive_float("norm_eps", default=1e-5), offset=1.0)
    bias = c.bool("attention_bias", default=False)
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), act=keys.activation(c, default="relu2"),
                  gated=False, bias=c.bool("mlp_bias", default=False))
    block = pre_norm(attention(c, positions=rope(c, partial=0.5), qkv_bias=bias, out_bias=bias), ffn, norm)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES,
                   gguf=gguf_names(_SHIFTED))

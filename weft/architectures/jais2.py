"""Jais 2: Llama with LayerNorms, biases and squared ReLU without a gate."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.parts import LLAMA_NAMES, attention, decoder, layer_norm, pre_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, MLPSpec


@architecture("Jais2ForCausalLM")
def jais2(c: ConfigReader) -> DecoderSpec:
    """Jais 2. Source: config.json of inceptionai/Jais-2-8B-Chat."""
    norm, bias = layer_norm(c), c.bool("attention_bias", default=True)
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), act=keys.activation(c, default="relu2"),
                  gated=False, bias=c.bool("mlp_bias", default=True))
    block = pre_norm(attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias), ffn, norm)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES)

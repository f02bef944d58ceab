"""Helium: Llama with rope on neighbouring pairs, and norms that round once."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.parts import LLAMA_NAMES, attention, decoder, gated_mlp, pre_norm, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec


@architecture("HeliumForCausalLM")
def helium(c: ConfigReader) -> DecoderSpec:
    """Helium. Source: config.json of kyutai/helium-1-2b."""
    norm = rms_norm(c, eps=1e-8, cast_before_weight=False)
    mixer = attention(c, positions=rope(c, theta=1e5, interleaved=True),
                      qkv_bias=c.bool("attention_bias", default=False))
    block = pre_norm(mixer, gated_mlp(c, bias=c.bool("mlp_bias", default=False)), norm)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES)

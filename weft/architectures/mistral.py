"""Mistral 7B and its kin: Llama with a sliding window."""

from __future__ import annotations

from weft.architectures.gguf_names import gguf_names, paired_qk
from weft.architectures.parts import (
    LLAMA_NAMES,
    attention,
    decoder,
    gated_mlp,
    layer_windows,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec
from weft.resolve.reader import ConfigReader


@architecture("MistralForCausalLM")
def mistral(c: ConfigReader) -> DecoderSpec:
    """Mistral. Source: arXiv:2310.06825; config.json of mistralai/Mistral-7B-v0.1."""
    norm = rms_norm(c)
    blocks = [
        BlockSpec(mixer=attention(c, positions=rope(c), window=window), ffn=gated_mlp(c), mixer_norm=norm,
                  ffn_norm=norm)
        for window in layer_windows(c, sliding_window(c, default=4096))
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES,
                   gguf=gguf_names(paired_qk(c)))

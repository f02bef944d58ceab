"""Mistral 7B and its relatives: Llama with a sliding window."""

from __future__ import annotations

from weft.architectures.gguf_names import gguf_names, paired_qk
from weft.architectures.mistral_names import mistral_names
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
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec


@architecture("MistralForCausalLM")
def mistral(c: ConfigReader) -> DecoderSpec:
    """Mistral. Source: arXiv:2310.06825; config.json of mistralai/Mistral-7B-v0.1."""
    norm = rms_norm(c)
    softcap = c.positive_float("attn_logit_softcapping", default=None)
    c.expect("llama_4_scaling", None, default=None)      # no code for queries scaled by their position
    blocks = [
        BlockSpec(mixer=attention(c, positions=rope(c), window=window, softcap=softcap), ffn=gated_mlp(c),
                  mixer_norm=norm, ffn_norm=norm)
        for window in layer_windows(c, sliding_window(c, default=4096))
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES,
                   logit_softcap=c.positive_float("final_logit_softcapping", default=None),
                   gguf=gguf_names(paired_qk(c)), mistral=mistral_names(c))

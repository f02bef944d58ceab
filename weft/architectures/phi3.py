"""Phi-3, Phi-3.5 and Phi-4: Llama with fused matrices and two sets of rope factors."""

from __future__ import annotations

from weft.architectures.gguf_names import GGUF_FUSED_QKV, gguf_names
from weft.architectures.parts import (
    attention,
    decoder,
    gated_mlp,
    layer_windows,
    llama_names,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec

_FUSED = {
    "model.layers.{i}.self_attn.qkv_proj": ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v"),
    "model.layers.{i}.mlp.gate_up_proj": ("blocks.{i}.ffn.gate", "blocks.{i}.ffn.up"),
}
_GGUF_NAMES = gguf_names(GGUF_FUSED_QKV, {"blk.{i}.ffn_up": ("blocks.{i}.ffn.gate", "blocks.{i}.ffn.up")})


@architecture("Phi3ForCausalLM")
def phi3(c: ConfigReader) -> DecoderSpec:
    """Phi-3 to Phi-4. Source: arXiv:2404.14219; config.json of microsoft/Phi-3-mini-128k-instruct."""
    norm = rms_norm(c, eps=1e-5)
    c.expect("attention_bias", False)
    blocks = [
        BlockSpec(mixer=attention(c, positions=rope(c), window=window), ffn=gated_mlp(c), mixer_norm=norm,
                  ffn_norm=norm)
        for window in layer_windows(c, sliding_window(c))
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(_FUSED),
                   gguf=_GGUF_NAMES)

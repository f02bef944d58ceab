"""Phi-3.5 MoE: Mixtral with LayerNorms, biases in attention and head, and the router SparseMixer."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures.gguf_names import gguf_names, stacked_experts
from weft.architectures.mixtral import MIXTRAL_EXPERTS
from weft.architectures.parts import (
    attention,
    decoder,
    experts,
    gated_mlp,
    layer_windows,
    llama_names,
    pre_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, LayerNorm


@architecture("PhimoeForCausalLM", "PhiMoEForCausalLM")
def phimoe(c: ConfigReader) -> DecoderSpec:
    """Phi-3.5 MoE. Source: arXiv:2404.14219; config.json of microsoft/Phi-3.5-MoE-instruct."""
    norm = LayerNorm(eps=c.positive_float("rms_norm_eps", default=1e-5))
    bias, positions = c.bool("attention_bias", default=False), rope(c, theta=1e6)
    c.expect("num_experts_per_tok", 2)
    c.harmless("input_jitter_noise")
    ffn = replace(experts(c, expert=gated_mlp(c), renormalize=False, per_token=2), scores="sparsemixer",
                  jitter=_jitter(c))
    blocks = [pre_norm(attention(c, positions=positions, qkv_bias=bias, out_bias=bias, window=window), ffn, norm)
              for window in layer_windows(c, sliding_window(c))]
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(MIXTRAL_EXPERTS),
                   head_bias=c.bool("lm_head_bias", default=False),
                   gguf=gguf_names(stacked_experts(ffn.num_experts)))


def _jitter(c: ConfigReader) -> float:
    found = c.float("router_jitter_noise", default=0.01)
    if found < 0:
        raise c.error("router_jitter_noise", found, "a number of at least 0")
    return found

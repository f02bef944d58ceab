"""Command R, R+, R7B and A: attention and MLP in parallel, rope on neighbouring pairs, scaled logits."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names
from weft.architectures.parts import (
    LLAMA_NAMES,
    attention,
    decoder,
    gated_mlp,
    layer_norm,
    layer_windows,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, QKNorm


@architecture("CohereForCausalLM")
def cohere(c: ConfigReader) -> DecoderSpec:
    """Command R and R+. Source: config.json of CohereForAI/c4ai-command-r-plus."""
    norm = layer_norm(c, has_bias=False)
    bias = c.bool("attention_bias", default=False)
    qk_norm = QKNorm(norm=norm, scope="each_head") if c.bool("use_qk_norm", default=False) else None
    block = BlockSpec(
        mixer=attention(c, positions=rope(c, theta=5e5, interleaved=True), qkv_bias=bias, out_bias=bias,
                        qk_norm=qk_norm),
        ffn=gated_mlp(c), mixer_norm=norm, ffn_norm=None, parallel=True,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES, tied=True,
                   logit_scale=c.positive_float("logit_scale", default=0.0625), gguf=gguf_names())


@architecture("Cohere2ForCausalLM")
def cohere2(c: ConfigReader) -> DecoderSpec:
    """Command R7B and A: three layers with a window and rope, then one with neither. Source: arXiv:2504.00698."""
    norm = layer_norm(c, has_bias=False)
    bias = c.bool("attention_bias", default=False)
    every = c.positive("sliding_window_pattern", "_sliding_window_pattern", default=4)
    windows = layer_windows(c, sliding_window(c, default=4096),
                            [(i + 1) % every != 0 for i in range(keys.num_layers(c))])
    positions = rope(c, interleaved=True)
    c.expect("use_parallel_block", True)
    c.expect("use_gated_activation", True)
    c.expect("use_qk_norm", False)
    c.harmless("use_embedding_sharing", "use_parallel_embedding", "position_embedding_type", "layer_switch",
               "order_of_interleaved_layers", "rotary_pct", "cache_implementation")
    blocks = [
        BlockSpec(mixer=attention(c, positions=positions if window else None, qkv_bias=bias, out_bias=bias,
                                  window=window), ffn=gated_mlp(c), mixer_norm=norm, ffn_norm=None, parallel=True)
        for window in windows
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES, tied=True,
                   logit_scale=c.positive_float("logit_scale", default=0.0625), gguf=gguf_names())

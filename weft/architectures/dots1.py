"""dots.llm1: Qwen3's attention with DeepSeek-V3's experts."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.fine_experts import FINE_EXPERTS, dense_first, sigmoid_experts
from weft.architectures.gguf_names import gguf_names, shared_expert, stacked_experts
from weft.architectures.parts import (
    attention,
    decoder,
    gated_mlp,
    layer_windows,
    llama_names,
    pre_norm,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, QKNorm


@architecture("Dots1ForCausalLM")
def dots1(c: ConfigReader) -> DecoderSpec:
    """dots.llm1. Source: arXiv:2506.05767; config.json of rednote-hilab/dots.llm1.inst."""
    norm, bias = rms_norm(c), c.bool("attention_bias", default=False)
    first = c.count("max_window_layers", default=62)
    windows = layer_windows(c, sliding_window(c, default=4096), [i >= first for i in range(keys.num_layers(c))])
    sparse, positions, qk_norm = sigmoid_experts(c, renormalize=False), rope(c), QKNorm(norm=norm)
    ffns = dense_first(c, gated_mlp(c), sparse, first=0)
    blocks = [pre_norm(attention(c, positions=positions, qkv_bias=bias, out_bias=bias, qk_norm=qk_norm, window=window),
                       ffn, norm) for window, ffn in zip(windows, ffns, strict=True)]
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(FINE_EXPERTS),
                   gguf=gguf_names({"blk.{i}.exp_probs_b": "blocks.{i}.ffn.choice"},
                                   stacked_experts(sparse.num_experts), shared_expert()))

"""Qwen3, dense and mixture of experts: norms on the heads of q and k."""

from __future__ import annotations

from weft.architectures.gguf_names import gguf_names, stacked_experts
from weft.architectures.parts import (
    LLAMA_NAMES,
    QWEN_EXPERTS,
    attention,
    decoder,
    experts,
    gated_mlp,
    is_sparse_layer,
    layer_windows,
    llama_names,
    qwen_windows,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import AttentionSpec, BlockSpec, DecoderSpec, QKNorm


@architecture("Qwen3ForCausalLM")
def qwen3(c: ConfigReader) -> DecoderSpec:
    """Qwen3, dense. Source: arXiv:2505.09388; config.json of Qwen/Qwen3-8B."""
    c.positive("head_dim")   # required: not hidden_size / num_attention_heads in this family
    norm = rms_norm(c)
    blocks = [
        BlockSpec(mixer=_attention(c, window), ffn=gated_mlp(c), mixer_norm=norm, ffn_norm=norm)
        for window in qwen_windows(c)
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES, gguf=gguf_names())


@architecture("Qwen3MoeForCausalLM")
def qwen3_moe(c: ConfigReader) -> DecoderSpec:
    """Qwen3, mixture of experts. Source: arXiv:2505.09388; config.json of Qwen/Qwen3-30B-A3B."""
    norm = rms_norm(c)
    slides = c.bool("use_sliding_window", default=False)
    window = sliding_window(c, default=4096) if slides else None
    c.harmless("sliding_window", "max_window_layers")   # all layers have the window, or none
    dense = gated_mlp(c)
    sparse = experts(c, expert=gated_mlp(c, size="moe_intermediate_size"),
                     renormalize=c.bool("norm_topk_prob", default=False), per_token=8)
    blocks = [
        BlockSpec(mixer=_attention(c, window), ffn=sparse if is_sparse_layer(c, i) else dense, mixer_norm=norm,
                  ffn_norm=norm)
        for i, window in enumerate(layer_windows(c, window))
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(QWEN_EXPERTS),
                   gguf=gguf_names(stacked_experts(sparse.num_experts)))


def _attention(c: ConfigReader, window: int | None) -> AttentionSpec:
    bias = c.bool("attention_bias", default=False)
    qk_norm = QKNorm(norm=rms_norm(c))
    return attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias, qk_norm=qk_norm, window=window)

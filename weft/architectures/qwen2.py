"""Qwen 1.5, 2 and 2.5, dense and mixture of experts: Llama with biases on q, k and v."""

from __future__ import annotations

from weft.architectures.gguf_names import gguf_names, shared_expert, stacked_experts
from weft.architectures.parts import (
    LLAMA_NAMES,
    QWEN_EXPERTS,
    attention,
    decoder,
    experts,
    gated_mlp,
    is_sparse_layer,
    llama_names,
    qwen_windows,
    rms_norm,
    rope,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec


@architecture("Qwen2ForCausalLM")
def qwen2(c: ConfigReader) -> DecoderSpec:
    """Qwen 1.5 to 2.5, dense. Source: arXiv:2407.10671; config.json of Qwen/Qwen2.5-7B."""
    norm = rms_norm(c)
    blocks = [
        BlockSpec(mixer=attention(c, positions=rope(c), qkv_bias=True, window=window), ffn=gated_mlp(c),
                  mixer_norm=norm, ffn_norm=norm)
        for window in qwen_windows(c)
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES, gguf=gguf_names())


@architecture("Qwen2MoeForCausalLM")
def qwen2_moe(c: ConfigReader) -> DecoderSpec:
    """Qwen 1.5 and 2, mixture of experts with a gated shared one. Source: config.json of Qwen/Qwen1.5-MoE-A2.7B."""
    norm = rms_norm(c)
    bias = c.bool("qkv_bias", default=True)
    dense = gated_mlp(c)
    sparse = experts(
        c, expert=gated_mlp(c, size="moe_intermediate_size"), renormalize=c.bool("norm_topk_prob", default=False),
        per_token=4, shared=gated_mlp(c, size="shared_expert_intermediate_size"), shared_gate=True)
    blocks = [
        BlockSpec(mixer=attention(c, positions=rope(c), qkv_bias=bias, window=window),
                  ffn=sparse if is_sparse_layer(c, i) else dense, mixer_norm=norm, ffn_norm=norm)
        for i, window in enumerate(qwen_windows(c))
    ]
    shared = {f"model.layers.{{i}}.mlp.shared_expert.{name}_proj": f"blocks.{{i}}.ffn.shared.{name}"
              for name in ("gate", "up", "down")}
    gate = {"model.layers.{i}.mlp.shared_expert_gate": "blocks.{i}.ffn.shared_gate"}
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(QWEN_EXPERTS | shared | gate),
                   gguf=gguf_names(stacked_experts(sparse.num_experts), shared_expert()))

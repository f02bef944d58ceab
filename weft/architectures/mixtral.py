"""Mixtral: Mistral with a mixture of experts in each layer; and Aria, with shared experts."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.fine_experts import SHARED_EXPERTS, stacked
from weft.architectures.gguf_names import gguf_names, paired_qk, stacked_experts
from weft.architectures.mistral_names import MISTRAL_EXPERTS, mistral_names
from weft.architectures.parts import (
    attention,
    decoder,
    experts,
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
from weft.architectures.spec import BlockSpec, DecoderSpec

MIXTRAL_EXPERTS = {
    "model.layers.{i}.block_sparse_moe.gate": "blocks.{i}.ffn.router",
    "model.layers.{i}.block_sparse_moe.experts.{e}.w1": "blocks.{i}.ffn.experts.{e}.gate",
    "model.layers.{i}.block_sparse_moe.experts.{e}.w3": "blocks.{i}.ffn.experts.{e}.up",
    "model.layers.{i}.block_sparse_moe.experts.{e}.w2": "blocks.{i}.ffn.experts.{e}.down",
}


@architecture("MixtralForCausalLM")
def mixtral(c: ConfigReader) -> DecoderSpec:
    """Mixtral. Source: arXiv:2401.04088; config.json of mistralai/Mixtral-8x7B-v0.1."""
    norm = rms_norm(c, eps=1e-5)
    positions = rope(c, theta=1e6)
    ffn = experts(c, expert=gated_mlp(c), renormalize=True, per_token=2)
    blocks = [
        BlockSpec(mixer=attention(c, positions=positions, window=window), ffn=ffn, mixer_norm=norm, ffn_norm=norm)
        for window in layer_windows(c, sliding_window(c))
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(MIXTRAL_EXPERTS),
                   gguf=gguf_names(paired_qk(c), stacked_experts(ffn.num_experts)),
                   mistral=mistral_names(c, MISTRAL_EXPERTS))


@architecture("AriaTextForCausalLM")
def aria_text(c: ConfigReader) -> DecoderSpec:
    """Aria's language model, with shared experts. Source: arXiv:2410.05993; config.json of rhymes-ai/Aria."""
    norm, bias, expert = rms_norm(c), c.bool("attention_bias", default=False), gated_mlp(c)
    count = c.count("moe_num_shared_experts", default=2)
    shared = replace(expert, intermediate_size=count * expert.intermediate_size) if count > 0 else None
    ffn = experts(c, expert=expert, renormalize=True, per_token=2, shared=shared)
    block = pre_norm(attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias), ffn, norm)
    c.harmless("mlp_bias", "moe_z_loss_coeff", "moe_aux_loss_coeff", "image_token_index")
    stored = "model.layers.{i}.mlp.experts."
    names = SHARED_EXPERTS | {"model.layers.{i}.mlp.router": "blocks.{i}.ffn.router"} | stacked(
        ffn, stored + "fc1.weight", stored + "fc2.weight", transposed=True)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=llama_names(names))

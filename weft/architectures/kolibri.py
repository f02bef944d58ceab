"""Kolibri: norms around each part, no positions in layers without a window; experts are chosen by biased logits."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.fine_experts import FINE_EXPERTS
from weft.architectures.parts import (
    attention,
    decoder,
    experts,
    gated_mlp,
    layer_windows,
    llama_names,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, QKNorm

_NAMES = llama_names(FINE_EXPERTS | {
    "model.layers.{i}.post_attn_norm": "blocks.{i}.mixer_post_norm",
    "model.layers.{i}.post_ffn_norm": "blocks.{i}.ffn_post_norm",
    "model.layers.{i}.moe.router.expert_bias": "blocks.{i}.ffn.choice.bias",
})


@architecture("Kolibri1ForCausalLM")
def kolibri(c: ConfigReader) -> DecoderSpec:
    """Kolibri 1. Source: `kolibri1` of Transformers."""
    norm, positions = rms_norm(c), rope(c)
    ffn = replace(
        experts(c, expert=gated_mlp(c, size="moe_intermediate_size"), per_token=6,
                renormalize=c.bool("norm_topk_prob", default=False),
                shared=gated_mlp(c, size="shared_expert_intermediate_size")),
        scores="sigmoid", choice_bias=True, chooses_by="logits")
    windows = layer_windows(c, sliding_window(c, default=513),
                            [(layer + 1) % 5 != 0 for layer in range(keys.num_layers(c))])
    blocks = [BlockSpec(mixer=attention(c, positions=positions if window else None, qk_norm=QKNorm(norm=norm),
                                        window=window), ffn=ffn, mixer_norm=norm, ffn_norm=norm, mixer_post_norm=norm,
                        ffn_post_norm=norm) for window in windows]
    return decoder(c, blocks=blocks, final_norm=norm, names=_NAMES)

"""OLMo 1: norms without weights, and clipped q, k and v. OLMo 2 and 3: norms after each part, and on all of q and k."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import GGUF_POST_NORMS, gguf_names, paired_qk
from weft.architectures.parts import (
    LLAMA_NAMES,
    SANDWICH_NORMS,
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
from weft.architectures.rope import has_layer_ropes
from weft.architectures.spec import BlockSpec, DecoderSpec, LayerNorm, QKNorm, Rope


@architecture("OlmoForCausalLM")
def olmo(c: ConfigReader) -> DecoderSpec:
    """OLMo 1. Source: arXiv:2402.00838; config.json of allenai/OLMo-7B-hf."""
    norm = LayerNorm(eps=1e-5, has_weight=False, has_bias=False)
    bias = c.bool("attention_bias", default=False)
    block = BlockSpec(
        mixer=attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias,
                        clip=c.positive_float("clip_qkv", default=None)),
        ffn=gated_mlp(c),
        mixer_norm=norm,
        ffn_norm=norm,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES,
                   gguf=gguf_names(paired_qk(c)))


@architecture("Olmo2ForCausalLM")
def olmo2(c: ConfigReader) -> DecoderSpec:
    """OLMo 2. Source: arXiv:2501.00656; config.json of allenai/OLMo-2-1124-7B."""
    positions = rope(c)
    return _post_norms(c, [(positions, None)] * keys.num_layers(c))


@architecture("Olmo3ForCausalLM")
def olmo3(c: ConfigReader) -> DecoderSpec:
    """OLMo 3: OLMo 2 with a window in three of four layers. Source: config.json of allenai/Olmo-3-1025-7B."""
    windows = layer_windows(c, sliding_window(c, default=4096), [(i + 1) % 4 != 0 for i in range(keys.num_layers(c))])
    return _post_norms(c, [(_olmo3_rope(c, window), window) for window in windows])


def _olmo3_rope(c: ConfigReader, window: int | None) -> Rope:
    """The rope of a layer. Scaling, if there is any, applies only to layers without a window."""
    if has_layer_ropes(c):
        return rope(c, theta=5e5, layer_type="full_attention" if window is None else "sliding_attention")
    scaled = rope(c, theta=5e5)
    return scaled if window is None else Rope(theta=scaled.theta, rotary_dim=scaled.rotary_dim)


def _post_norms(c: ConfigReader, layers: list[tuple[Rope, int | None]]) -> DecoderSpec:
    norm = rms_norm(c, eps=1e-5, cast_before_weight=False)
    bias = c.bool("attention_bias", default=False)
    ffn, qk_norm = gated_mlp(c), QKNorm(norm=norm, scope="all")
    blocks = [
        BlockSpec(mixer=attention(c, positions=positions, qkv_bias=bias, out_bias=bias, qk_norm=qk_norm, window=window),
                  ffn=ffn, mixer_norm=None, ffn_norm=None, mixer_post_norm=norm, ffn_post_norm=norm)
        for positions, window in layers
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(SANDWICH_NORMS),
                   gguf=gguf_names(GGUF_POST_NORMS))

"""SmolLM3: Llama, but every fourth layer has no positions."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names, paired_qk
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


@architecture("SmolLM3ForCausalLM")
def smollm3(c: ConfigReader) -> DecoderSpec:
    """SmolLM3. Source: config.json of HuggingFaceTB/SmolLM3-3B; arXiv:2501.18795 (layers without positions)."""
    norm, positions = rms_norm(c), rope(c, theta=2e6)
    bias, ffn = c.bool("attention_bias", default=False), gated_mlp(c, bias=c.bool("mlp_bias", default=False))
    has_rope = _has_rope(c)
    window = sliding_window(c) if c.bool("use_sliding_window", default=False) else None
    c.harmless("sliding_window", "max_window_layers")
    blocks = [
        BlockSpec(mixer=attention(c, positions=positions if rotates else None, qkv_bias=bias, out_bias=bias,
                                  window=size), ffn=ffn, mixer_norm=norm, ffn_norm=norm)
        for rotates, size in zip(has_rope, layer_windows(c, window, [not rotates for rotates in has_rope]), strict=True)
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES, tied=True,
                   gguf=gguf_names(paired_qk(c)))


def _has_rope(c: ConfigReader) -> list[bool]:
    """Whether each layer has rope, [L]: from `no_rope_layers` (1 means with rope) or `no_rope_layer_interval`."""
    layers, every = keys.num_layers(c), c.positive("no_rope_layer_interval", default=4)
    given = c.list("no_rope_layers", default=None)
    if given is None:
        return [(i + 1) % every != 0 for i in range(layers)]
    if len(given) != layers:
        raise c.error("no_rope_layers", given, f"a list of num_hidden_layers = {layers} entries")
    return [bool(entry) for entry in given]

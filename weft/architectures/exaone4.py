"""EXAONE 4 and K-EXAONE: norms on the heads of q and k, no positions in layers without a window."""

from __future__ import annotations

from weft.architectures.fine_experts import FINE_EXPERTS, dense_first, sigmoid_experts
from weft.architectures.gguf_names import GGUF_POST_NORMS, gguf_names
from weft.architectures.parts import (
    SANDWICH_NORMS,
    attention,
    decoder,
    full_every,
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
from weft.architectures.spec import AttentionSpec, BlockSpec, DecoderSpec, QKNorm


@architecture("Exaone4ForCausalLM")
def exaone4(c: ConfigReader) -> DecoderSpec:
    """EXAONE 4. Source: arXiv:2507.11407; config.json of LGAI-EXAONE/EXAONE-4.0-32B."""
    norm, ffn = rms_norm(c, eps=1e-5), gated_mlp(c)
    blocks = [BlockSpec(mixer=mixer, ffn=ffn, mixer_norm=None, ffn_norm=None, mixer_post_norm=norm, ffn_post_norm=norm)
              for mixer in _mixers(c)]
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(SANDWICH_NORMS),
                   gguf=gguf_names(GGUF_POST_NORMS))


@architecture("ExaoneMoeForCausalLM")
def exaone_moe(c: ConfigReader) -> DecoderSpec:
    """K-EXAONE, mixture of experts, norms before each part. Source: config.json of LGAI-EXAONE/K-EXAONE-236B-A23B."""
    norm = rms_norm(c, eps=1e-5)
    ffns = dense_first(c, gated_mlp(c), sigmoid_experts(c, scale=2.5), first=1)
    blocks = [pre_norm(mixer, ffn, norm) for mixer, ffn in zip(_mixers(c), ffns, strict=True)]
    bias = {"model.layers.{i}.mlp.e_score_correction_bias": "blocks.{i}.ffn.choice.bias"}
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(FINE_EXPERTS | bias))


def _mixers(c: ConfigReader) -> list[AttentionSpec]:
    """The attention of each layer. Where no layer has a window, all have positions."""
    window = sliding_window(c, default=4096)
    if window is None:
        c.harmless("sliding_window_pattern")
    windows = layer_windows(c, window, None if window is None else full_every(c, 4))
    c.harmless("sliding_window_pattern")
    positions, qk_norm = rope(c), QKNorm(norm=rms_norm(c, eps=1e-5))
    return [attention(c, positions=positions if window is None or each else None, qk_norm=qk_norm, window=each)
            for each in windows]

"""Mistral 7B and its relatives: Llama with a sliding window."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures.gguf_names import gguf_names, paired_qk
from weft.architectures.mistral_names import mistral_names
from weft.architectures.parts import (
    LLAMA_NAMES,
    attention,
    decoder,
    gated_mlp,
    layer_windows,
    pre_norm,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.rope_parameters import rope_reader
from weft.architectures.spec import BlockSpec, DecoderSpec, QueryScaling


@architecture("MistralForCausalLM")
def mistral(c: ConfigReader) -> DecoderSpec:
    """Mistral. Source: arXiv:2310.06825; config.json of mistralai/Mistral-7B-v0.1."""
    norm = rms_norm(c)
    softcap = c.positive_float("attn_logit_softcapping", default=None)
    c.expect("llama_4_scaling", None, default=None)      # no code for queries scaled by their position
    blocks = [
        BlockSpec(mixer=attention(c, positions=rope(c), window=window, softcap=softcap), ffn=gated_mlp(c),
                  mixer_norm=norm, ffn_norm=norm)
        for window in layer_windows(c, sliding_window(c, default=4096))
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES,
                   logit_softcap=c.positive_float("final_logit_softcapping", default=None),
                   gguf=gguf_names(paired_qk(c)), mistral=mistral_names(c))


@architecture("MinistralForCausalLM")
def ministral(c: ConfigReader) -> DecoderSpec:
    """Ministral: Mistral with a window in some layers. Source: config.json of mistralai/Ministral-8B-Instruct-2410."""
    norm, positions = rms_norm(c), rope(c)
    blocks = [pre_norm(attention(c, positions=positions, window=window), gated_mlp(c), norm)
              for window in layer_windows(c, sliding_window(c, default=4096))]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES)


@architecture("Ministral3ForCausalLM")
def ministral3(c: ConfigReader) -> DecoderSpec:
    """Ministral 3: queries scaled by their position. Source: config.json of mistralai/Ministral-3-8B-Instruct-2512."""
    norm, positions = rms_norm(c, eps=1e-5), rope(c)
    blocks = [pre_norm(replace(attention(c, positions=positions, window=window), query_scaling=llama4_scaling(c)),
                       gated_mlp(c), norm) for window in layer_windows(c, sliding_window(c))]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES)


def llama4_scaling(c: ConfigReader) -> QueryScaling | None:
    """The factor on queries that `rope_parameters` names, in steps of the trained length."""
    parameters = rope_reader(c)
    if parameters is None:
        return None
    parameters.harmless("max_position_embeddings")
    beta = parameters.float("llama_4_scaling_beta", default=None)
    if beta is None:
        return None
    return QueryScaling(beta=beta, length=parameters.positive("original_max_position_embeddings"))

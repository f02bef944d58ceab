"""Granite 3: Llama with multipliers on embeddings, attention scores, residuals and logits."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names, paired_qk
from weft.architectures.parts import LLAMA_NAMES, attention, decoder, gated_mlp, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, EmbeddingSpec


@architecture("GraniteForCausalLM")
def granite(c: ConfigReader) -> DecoderSpec:
    """Granite 3. Source: arXiv:2408.13359 (maximal update parametrisation); ibm-granite/granite-3.0-8b-base."""
    norm = rms_norm(c)
    bias = c.bool("attention_bias", default=False)
    scale = c.positive_float("attention_multiplier", default=1.0)
    block = BlockSpec(
        mixer=attention(c, positions=rope(c), scale=scale, qkv_bias=bias, out_bias=bias),
        ffn=gated_mlp(c, bias=c.bool("mlp_bias", default=False)),
        mixer_norm=norm,
        ffn_norm=norm,
        residual_scale=c.positive_float("residual_multiplier", default=1.0),
    )
    embedding = EmbeddingSpec(vocab_size=c.positive("vocab_size"),
                              scale=c.positive_float("embedding_multiplier", default=1.0), scales_given_rows=True)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES, embedding=embedding,
                   logit_scale=1.0 / c.positive_float("logits_scaling", default=1.0), gguf=gguf_names(paired_qk(c)))

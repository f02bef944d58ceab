"""Relatives of DeepSeek-V3 with its latent attention: A.X K1, Youtu, GLM-4.7 Flash and MiniCPM 3."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.deepseek import latent_attention, latent_names, rope_dim
from weft.architectures.fine_experts import dense_first, sigmoid_experts
from weft.architectures.parts import decoder, gated_mlp, pre_norm, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, EmbeddingSpec, MLASpec, MoESpec


@architecture("AXK1ForCausalLM")
def axk1(c: ConfigReader) -> DecoderSpec:
    """A.X K1: a norm after layers with experts. Source: config.json of skt/A.X-K1."""
    norm, mixer, sparse = rms_norm(c), _attention(c), sigmoid_experts(c, scale=2.5, groups=8, used=4)
    blocks = [BlockSpec(mixer=mixer, ffn=ffn, mixer_norm=norm, ffn_norm=norm,
                        ffn_post_norm=norm if isinstance(ffn, MoESpec) else None)
              for ffn in dense_first(c, gated_mlp(c), sparse, first=1)]
    names = latent_names(c, mixer, {"model.layers.{i}.post_mlp_layernorm": "blocks.{i}.ffn_post_norm"})
    return decoder(c, blocks=blocks, final_norm=norm, names=names)


@architecture("YoutuForCausalLM")
def youtu(c: ConfigReader) -> DecoderSpec:
    """Youtu: dense. Source: config.json of tencent/Youtu-LLM-2B."""
    c.harmless("embedding_initializer_range")
    norm, mixer, ffn = rms_norm(c), _attention(c), gated_mlp(c)
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm, tied=True,
                   names=latent_names(c, mixer))


@architecture("Glm4MoeLiteForCausalLM")
def glm4_moe_lite(c: ConfigReader) -> DecoderSpec:
    """GLM-4.7 Flash. Source: config.json of zai-org/GLM-4.7-Flash."""
    norm, mixer, sparse = rms_norm(c, eps=1e-5), _attention(c), sigmoid_experts(c, scale=1.8)
    blocks = [pre_norm(mixer, ffn, norm) for ffn in dense_first(c, gated_mlp(c), sparse, first=1)]
    return decoder(c, blocks=blocks, final_norm=norm, names=latent_names(c, mixer))


@architecture("MiniCPM3ForCausalLM")
def minicpm3(c: ConfigReader) -> DecoderSpec:
    """MiniCPM 3: scaled embeddings, residuals and logits. Source: arXiv:2404.06395; openbmb/MiniCPM3-4B."""
    layers, hidden = keys.num_layers(c), keys.hidden_size(c)
    positions = rope(c, rotary_dim=rope_dim(c))
    if not c.has("v_head_dim"):
        raise c.error("v_head_dim", None, "a size")
    norm, mixer = rms_norm(c, eps=1e-5), latent_attention(c, positions)
    depth = c.positive_float("scale_depth", default=None if c.is_given("scale_depth") else 1.4)
    block = pre_norm(mixer, gated_mlp(c, bias=c.bool("mlp_bias", default=False)), norm,
                     residual_scale=1.0 if depth is None else depth / layers ** 0.5)
    base = c.positive("dim_model_base", default=None if c.is_given("dim_model_base") else 256)
    return decoder(c, blocks=[block] * layers, final_norm=norm, names=latent_names(c, mixer), tied=True,
                   logit_scale=1.0 if base is None else base / hidden,
                   embedding=EmbeddingSpec(vocab_size=c.positive("vocab_size"),
                                           scale=c.positive_float("scale_emb", default=12.0)))


def _attention(c: ConfigReader) -> MLASpec:
    positions = rope(c, rotary_dim=rope_dim(c), interleaved=c.bool("rope_interleave", default=True))
    return latent_attention(c, positions)

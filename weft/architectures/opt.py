"""OPT: learned positions that start at row 2, ReLU, norms before each part (350m: after, and a narrower embedding)."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.names import names
from weft.architectures.parts import attention, decoder
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, EmbeddingSpec, LayerNorm, LearnedPositions, MLPSpec

_LAYER = "model.decoder.layers.{i}."
_NAMES = names({
    _LAYER + "self_attn_layer_norm": "blocks.{i}.mixer_norm",
    _LAYER + "final_layer_norm": "blocks.{i}.ffn_norm",
    _LAYER + "self_attn.q_proj": "blocks.{i}.mixer.q",
    _LAYER + "self_attn.k_proj": "blocks.{i}.mixer.k",
    _LAYER + "self_attn.v_proj": "blocks.{i}.mixer.v",
    _LAYER + "self_attn.out_proj": "blocks.{i}.mixer.o",
    _LAYER + "fc1": "blocks.{i}.ffn.up",
    _LAYER + "fc2": "blocks.{i}.ffn.down",
    "model.decoder.embed_tokens": "embedding.tokens",
    "model.decoder.embed_positions": "embedding.positions",
    "model.decoder.project_in": "embedding.project",
    "model.decoder.project_out": "head.project",
    "model.decoder.final_layer_norm": "final_norm",
    "lm_head": "head",
}, optional_prefix="model.")


@architecture("OPTForCausalLM")
def opt(c: ConfigReader) -> DecoderSpec:
    """OPT. Source: arXiv:2205.01068; config.json of facebook/opt-125m and opt-350m."""
    learned = c.bool("layer_norm_elementwise_affine", default=True)
    norm = LayerNorm(eps=1e-5, has_weight=learned, has_bias=learned)
    bias = c.bool("enable_bias", default=True)
    before = c.bool("do_layer_norm_before", default=True)
    removed = c.bool("_remove_final_layer_norm", default=False)
    c.harmless("init_std")
    block = BlockSpec(
        mixer=attention(c, positions=None, num_kv_heads=keys.num_heads(c), qkv_bias=bias, out_bias=bias),
        ffn=MLPSpec(intermediate_size=c.positive("ffn_dim"), gated=False, bias=bias,
                    act=keys.activation(c, "activation_function", default="relu")),
        mixer_norm=norm,
        ffn_norm=norm,
        post_residual=not before,
    )
    hidden, width = keys.hidden_size(c), c.positive("word_embed_proj_dim", default=None)
    embedding = EmbeddingSpec(
        vocab_size=c.positive("vocab_size"), embedding_dim=width if width != hidden else None,
        positions=LearnedPositions(num_positions=c.positive("max_position_embeddings"), offset=2))
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm if before and not removed else None,
                   names=_NAMES, embedding=embedding, tied=True)

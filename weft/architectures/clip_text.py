"""CLIP's text encoder: causal, with norms before the parts. A prompt's vector is the state of its last token."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.encoders import embedding, encoder, encoder_block, encoder_names, learned_positions
from weft.architectures.parts import layer_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Causal, EncoderSpec, MLPSpec

_LAYER = "encoder.layers.{i}."
_NAMES = encoder_names("text_model.", {
    "embeddings.token_embedding": "embedding.tokens",
    "embeddings.position_embedding": "embedding.positions",
    _LAYER + "self_attn.q_proj": "blocks.{i}.mixer.q",
    _LAYER + "self_attn.k_proj": "blocks.{i}.mixer.k",
    _LAYER + "self_attn.v_proj": "blocks.{i}.mixer.v",
    _LAYER + "self_attn.out_proj": "blocks.{i}.mixer.o",
    _LAYER + "layer_norm1": "blocks.{i}.mixer_norm",
    _LAYER + "mlp.fc1": "blocks.{i}.ffn.up",
    _LAYER + "mlp.fc2": "blocks.{i}.ffn.down",
    _LAYER + "layer_norm2": "blocks.{i}.ffn_norm",
    "final_layer_norm": "final_norm",
})


@architecture("CLIPTextModel")
def clip_text(c: ConfigReader) -> EncoderSpec:
    """CLIP's text encoder. Source: arXiv:2103.00020; config.json of openai/clip-vit-large-patch14."""
    c.harmless("projection_dim")
    norm = layer_norm(c)
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=False, bias=True,
                  act=keys.activation(c, default="quick_gelu"))
    return encoder(c, embedding=embedding(c, norm=None, positions=learned_positions(c), token_types=None),
                   blocks=[encoder_block(c, norm=norm, ffn=ffn, is_pre_norm=True, mask=Causal())] * keys.num_layers(c),
                   final_norm=norm, names=_NAMES, pooling="last")

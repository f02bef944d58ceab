"""Text encoders of two-tower models: CLIP's (causal) and SigLIP's, with norms before the parts.

A prompt's vector is made of the state of its last token; of whole models (`CLIPModel`) it is projected to the space
that texts share with images, which is called text_embeds. The tower of the images is not loaded.
"""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.encoders import embedding, encoder, encoder_block, encoder_names, learned_positions
from weft.architectures.parts import layer_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Activation, Causal, DenseSpec, EncoderSpec, MLPSpec, PoolerSpec
from weft.cache.masks import Bidirectional

_LAYER = "encoder.layers.{i}."
_NAMES = encoder_names("text_model.", {
    "embeddings.token_embedding": "embedding.tokens",
    "embeddings.position_embedding": "embedding.positions",
    _LAYER + "self_attn.q_proj": "blocks.{i}.mixer.q",
    _LAYER + "self_attn.k_proj": "blocks.{i}.mixer.k",
    _LAYER + "self_attn.v_proj": "blocks.{i}.mixer.v",
    _LAYER + "self_attn.out_proj": "blocks.{i}.mixer.o",
    _LAYER + "layer_norm1": "blocks.{i}.mixer_norm",
    _LAYER + "layer_norm2": "blocks.{i}.ffn_norm",
    _LAYER + "mlp.fc1": "blocks.{i}.ffn.up",
    _LAYER + "mlp.fc2": "blocks.{i}.ffn.down",
    "final_layer_norm": "final_norm",
}, heads=("vision_model.", "visual_projection.", "logit_scale", "logit_bias"))


@architecture("CLIPTextModel")
def clip_text(c: ConfigReader) -> EncoderSpec:
    """CLIP's text encoder. Source: arXiv:2103.00020; config.json of openai/clip-vit-large-patch14."""
    c.harmless("projection_dim")
    return _tower(c, Causal(), act="quick_gelu", eps=1e-5)


@architecture("CLIPTextModelWithProjection")
def clip_text_embeds(c: ConfigReader) -> EncoderSpec:
    """CLIP's text encoder with its projection. Source: as of CLIPTextModel."""
    return _projected(clip_text(c), "text_projection", c.positive("projection_dim", default=512), bias=False)


@architecture("CLIPModel")
def clip(c: ConfigReader) -> EncoderSpec:
    """CLIP, its text tower: text_embeds. Source: arXiv:2103.00020; config.json of openai/clip-vit-large-patch14."""
    c.harmless("vision_config", "logit_scale_init_value")
    width = c.positive("projection_dim", default=512)
    return _projected(clip_text(c.sub("text_config")), "text_projection", width, bias=False)


@architecture("SiglipTextModel", "SiglipModel")
def siglip(c: ConfigReader) -> EncoderSpec:
    """SigLIP, its text tower: text_embeds. Source: arXiv:2303.15343; config.json of google/siglip-base-patch16-224.

    The models were trained on texts that are padded to 64 tokens; a prompt is taken as it is.
    """
    text = c.sub("text_config") if c.dict("text_config", default=None) else c
    c.harmless("vision_config", "initializer_factor")
    width = text.positive("projection_size", default=None) or keys.hidden_size(text)
    spec = _tower(text, Bidirectional(), act="gelu_pytorch_tanh", eps=1e-6)
    return _projected(spec, "text_model.head", width, bias=True)


def _tower(c: ConfigReader, mask: Causal | Bidirectional, *, act: Activation, eps: float) -> EncoderSpec:
    norm = layer_norm(c, eps=eps)
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=False, bias=True,
                  act=keys.activation(c, default=act))
    return encoder(c, embedding=embedding(c, norm=None, positions=learned_positions(c), token_types=None),
                   blocks=[encoder_block(c, norm=norm, ffn=ffn, is_pre_norm=True, mask=mask)] * keys.num_layers(c),
                   final_norm=norm, names=_NAMES, pooling="last")


def _projected(spec: EncoderSpec, name: str, width: int, *, bias: bool) -> EncoderSpec:
    """The tower with a projection of the pooled state."""
    layer = DenseSpec(names=(name,), out_features=width, bias=bias)
    return replace(spec, poolers=(PoolerSpec(task="embed", pooling=("last",), projections=(layer,)),))

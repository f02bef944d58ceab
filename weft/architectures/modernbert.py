"""ModernBERT: norms before the parts, gated feed-forward parts, rotary positions, local attention in most layers."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.encoders import embedding, encoder, encoder_block, encoder_names
from weft.architectures.gguf_names import GGUF_ENCODER, GGUF_FUSED_QKV, gguf_names
from weft.architectures.parts import gated_mlp, layer_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.rope import has_layer_ropes, rope
from weft.architectures.spec import BlockSpec, ClassifierSpec, DenseNormSpec, DenseSpec, EncoderSpec, Rope
from weft.cache.masks import Bidirectional

_QKV = ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
_NAMES = encoder_names("model.", {
    "embeddings.tok_embeddings": "embedding.tokens",
    "embeddings.norm": "embedding.norm",
    "layers.{i}.attn_norm": "blocks.{i}.mixer_norm",
    "layers.{i}.attn.Wqkv": _QKV,
    "layers.{i}.attn.Wo": "blocks.{i}.mixer.o",
    "layers.{i}.mlp_norm": "blocks.{i}.ffn_norm",
    "layers.{i}.mlp.Wi": ("blocks.{i}.ffn.gate", "blocks.{i}.ffn.up"),
    "layers.{i}.mlp.Wo": "blocks.{i}.ffn.down",
    "final_norm": "final_norm",
}, heads=("decoder.",))


@architecture("ModernBertModel", "ModernBertForMaskedLM")
def modernbert(c: ConfigReader) -> EncoderSpec:
    """ModernBERT. Source: arXiv:2412.13663; config.json of answerdotai/ModernBERT-base."""
    c.harmless("tie_word_embeddings", "embedding_dropout", "mlp_dropout", "initializer_cutoff_factor", "decoder_bias",
               "classifier_bias", "deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index",
               "position_embedding_type", "reference_compile", "repad_logits_with_grad")
    norm = layer_norm(c, has_bias=c.bool("norm_bias", default=False))
    blocks = [_block(c, is_local) for is_local in _local_layers(c)]
    blocks[0] = replace(blocks[0], mixer_norm=None)                            # the embedding's norm is its norm
    head = (DenseSpec(names=("head.dense",), out_features=keys.hidden_size(c), bias=None,
                      act=keys.activation(c, "classifier_activation", default="gelu")),
            DenseNormSpec(names=("head.norm",), eps=norm.eps, bias=None),
            DenseSpec(names=("classifier",), out_features=None))
    pooling = c.choice("classifier_pooling", allowed=("cls", "mean"), default="cls")
    return encoder(c, embedding=embedding(c, norm=norm, token_types=None), blocks=blocks, final_norm=norm, names=_NAMES,
                   classifier=ClassifierSpec(layers=head, pooling=pooling),
                   lm_head=(*head[:2], DenseSpec(names=("decoder",), out_features=c.positive("vocab_size"), bias=None)),
                   token_classifier=ClassifierSpec(layers=head, pooling=None),
                   gguf=gguf_names(GGUF_ENCODER, GGUF_FUSED_QKV, {"blk.{i}.ffn_up": (
                       "blocks.{i}.ffn.gate", "blocks.{i}.ffn.up")}))


def _local_layers(c: ConfigReader) -> list[bool]:
    """[L]: whether a layer's tokens see their neighbours only."""
    layers, every = keys.num_layers(c), c.positive("global_attn_every_n_layers", default=3)
    types = c.list("layer_types", default=None) or [
        "sliding_attention" if i % every else "full_attention" for i in range(layers)]
    if len(types) != layers or not set(types) <= {"full_attention", "sliding_attention"}:
        raise c.error("layer_types", types, f"{layers} entries, each full_attention or sliding_attention")
    return [kind == "sliding_attention" for kind in types]


def _block(c: ConfigReader, is_local: bool) -> BlockSpec:
    width = c.positive("local_attention", default=128)
    return encoder_block(
        c, norm=layer_norm(c, has_bias=c.bool("norm_bias", default=False)), is_pre_norm=True,
        ffn=gated_mlp(c, bias=c.bool("mlp_bias", default=False), act="hidden_activation", default_act="gelu"),
        positions=_rope(c, is_local), has_bias=c.bool("attention_bias", default=False),
        mask=Bidirectional(radius=width // 2 if is_local else None))


def _rope(c: ConfigReader, is_local: bool) -> Rope:
    kind, key, theta = (("sliding_attention", "local_rope_theta", 10000.0) if is_local else
                        ("full_attention", "global_rope_theta", 160000.0))
    if has_layer_ropes(c):
        return rope(c, theta=theta, layer_type=kind)
    return Rope(theta=c.positive_float(key, default=theta), rotary_dim=keys.head_dim(c))

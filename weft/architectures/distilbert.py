"""DistilBERT: BERT without token types, under names of its own."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.classifiers import dense_classifier
from weft.architectures.encoders import (
    BERT_EMBEDDING,
    embedding,
    encoder,
    encoder_block,
    encoder_names,
    learned_positions,
)
from weft.architectures.lm_heads import lm_head
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import EncoderSpec, LayerNorm, MLPSpec

_LAYER = "transformer.layer.{i}."
_NAMES = encoder_names("distilbert.", BERT_EMBEDDING, {
    _LAYER + "attention.q_lin": "blocks.{i}.mixer.q",
    _LAYER + "attention.k_lin": "blocks.{i}.mixer.k",
    _LAYER + "attention.v_lin": "blocks.{i}.mixer.v",
    _LAYER + "attention.out_lin": "blocks.{i}.mixer.o",
    _LAYER + "sa_layer_norm": "blocks.{i}.mixer_norm",
    _LAYER + "ffn.lin1": "blocks.{i}.ffn.up",
    _LAYER + "ffn.lin2": "blocks.{i}.ffn.down",
    _LAYER + "output_layer_norm": "blocks.{i}.ffn_norm",
}, heads=("vocab_",))


@architecture("DistilBertModel", "DistilBertForMaskedLM")
def distilbert(c: ConfigReader) -> EncoderSpec:
    """DistilBERT. Source: arXiv:1910.01108; config.json of distilbert/distilbert-base-uncased."""
    c.harmless("qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds", "tie_weights_")
    norm = LayerNorm(eps=1e-12)
    ffn = MLPSpec(intermediate_size=c.positive("hidden_dim", "intermediate_size"), gated=False, bias=True,
                  act=keys.activation(c, "activation", default="gelu"))
    return encoder(c, embedding=embedding(c, norm=norm, positions=learned_positions(c), token_types=None),
                   blocks=[encoder_block(c, norm=norm, ffn=ffn)] * keys.num_layers(c), names=_NAMES,
                   classifier=dense_classifier(c, "pre_classifier", "classifier", act="relu"),
                   lm_head=lm_head(c, "vocab_transform", "vocab_layer_norm", ("vocab_projector",), eps=norm.eps,
                                   act=keys.activation(c, "activation", default="gelu")))

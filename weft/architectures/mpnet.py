"""MPNet: RoBERTa without token types, with a relative bias that all layers share."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.classifiers import dense_classifier
from weft.architectures.encoders import (
    BERT_BLOCK,
    BERT_EMBEDDING,
    bert_norm,
    embedding,
    encoder,
    encoder_block,
    encoder_names,
    learned_positions,
    relative_bias,
)
from weft.architectures.lm_heads import roberta_lm_head
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import EncoderSpec

_LAYER = "encoder.layer.{i}.attention."
_NAMES = encoder_names("mpnet.", BERT_EMBEDDING, {
    source: target for source, target in BERT_BLOCK.items() if not source.startswith(_LAYER)} | {
    _LAYER + "attn.q": "blocks.{i}.mixer.q",
    _LAYER + "attn.k": "blocks.{i}.mixer.k",
    _LAYER + "attn.v": "blocks.{i}.mixer.v",
    _LAYER + "attn.o": "blocks.{i}.mixer.o",
    _LAYER + "LayerNorm": "blocks.{i}.mixer_norm",
    "encoder.relative_attention_bias": "relative",
})


@architecture("MPNetModel", "MPNetForMaskedLM")
def mpnet(c: ConfigReader) -> EncoderSpec:
    """MPNet. Source: arXiv:2004.09297; config.json of sentence-transformers/all-mpnet-base-v2."""
    norm, bias = bert_norm(c), relative_bias(c)
    return encoder(c, embedding=embedding(c, norm=norm, positions=learned_positions(c, 2), token_types=None),
                   blocks=[encoder_block(c, norm=norm, positions=bias)] * keys.num_layers(c), names=_NAMES,
                   classifier=dense_classifier(c, "classifier.dense", "classifier.out_proj", act="tanh"),
                   lm_head=roberta_lm_head(c, eps=norm.eps))

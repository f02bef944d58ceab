"""RoBERTa and its copies: BERT's blocks; positions start at the padding token's id + 1."""

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
    padded_first,
)
from weft.architectures.names import NameMap
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import EncoderSpec

_NAMES = encoder_names("roberta.", BERT_EMBEDDING, BERT_BLOCK)
_DATA2VEC_NAMES = encoder_names("data2vec_text.", BERT_EMBEDDING, BERT_BLOCK)


@architecture("RobertaModel", "RobertaForMaskedLM", "XLMRobertaModel", "XLMRobertaForMaskedLM", "CamembertModel",
              "CamembertForMaskedLM")
def roberta(c: ConfigReader) -> EncoderSpec:
    """RoBERTa, XLM-RoBERTa, CamemBERT. Source: arXiv:1907.11692; config.json of FacebookAI/roberta-base."""
    c.harmless("output_past")
    return _roberta(c, _NAMES)


@architecture("Data2VecTextModel", "Data2VecTextForMaskedLM")
def data2vec_text(c: ConfigReader) -> EncoderSpec:
    """data2vec for text. Source: arXiv:2202.03555; config.json of facebook/data2vec-text-base."""
    return _roberta(c, _DATA2VEC_NAMES)


def _roberta(c: ConfigReader, names: NameMap) -> EncoderSpec:
    c.expect("position_embedding_type", None, "absolute")
    norm, positions = bert_norm(c), learned_positions(c, padded_first(c))
    return encoder(c, embedding=embedding(c, norm=norm, positions=positions), names=names,
                   blocks=[encoder_block(c, norm=norm)] * keys.num_layers(c),
                   classifier=dense_classifier(c, "classifier.dense", "classifier.out_proj", act="tanh"))

"""ELECTRA and RemBERT: BERT with embeddings of their own width, which are normed and then projected."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.classifiers import dense_classifier, pooled_classifier
from weft.architectures.encoders import (
    BERT_BLOCK,
    BERT_EMBEDDING,
    bert_norm,
    embedding,
    encoder,
    encoder_block,
    encoder_names,
    learned_positions,
)
from weft.architectures.names import NameMap
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import ClassifierSpec, EncoderSpec

_ELECTRA = encoder_names("electra.", BERT_EMBEDDING, BERT_BLOCK, {"embeddings_project": "embedding.project"},
                         heads=("generator_", "discriminator_"))
_REMBERT = encoder_names("rembert.", BERT_EMBEDDING, BERT_BLOCK,
                         {"encoder.embedding_hidden_mapping_in": "embedding.project"})


@architecture("ElectraModel", "ElectraForMaskedLM", "ElectraForPreTraining")
def electra(c: ConfigReader) -> EncoderSpec:
    """ELECTRA. Source: arXiv:2003.10555; config.json of google/electra-small-discriminator."""
    c.expect("position_embedding_type", None, "absolute")
    c.harmless("summary_last_dropout")
    width, hidden = c.positive("embedding_size", default=128), keys.hidden_size(c)
    return _projected(c, width, width != hidden, _ELECTRA,
                      dense_classifier(c, "classifier.dense", "classifier.out_proj", act="gelu"))


@architecture("RemBertModel", "RemBertForMaskedLM")
def rembert(c: ConfigReader) -> EncoderSpec:
    """RemBERT. Source: arXiv:2010.12821; config.json of google/rembert."""
    c.harmless("output_embedding_size", "classifier_dropout_prob")
    return _projected(c, c.positive("input_embedding_size", default=256), True, _REMBERT,
                      pooled_classifier(c, "rembert."))


def _projected(c: ConfigReader, width: int, is_projected: bool, names: NameMap,
               classifier: ClassifierSpec) -> EncoderSpec:
    norm = bert_norm(c)
    tables = embedding(c, norm=norm, positions=learned_positions(c), width=width, projects_last=is_projected)
    return encoder(c, embedding=tables, blocks=[encoder_block(c, norm=norm)] * keys.num_layers(c), names=names,
                   classifier=classifier)

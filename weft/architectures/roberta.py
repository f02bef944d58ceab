"""RoBERTa and its copies: BERT's blocks; positions start at the padding token's id + 1."""

from __future__ import annotations

from dataclasses import replace

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
from weft.architectures.lm_heads import roberta_lm_head
from weft.architectures.names import NameMap
from weft.architectures.nomic_bert import FLASH_BLOCK, jina_flash
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import ClassifierSpec, DenseSpec, EncoderSpec, PoolerSpec

_NAMES = encoder_names("roberta.", BERT_EMBEDDING, BERT_BLOCK, FLASH_BLOCK)
_DATA2VEC_NAMES = encoder_names("data2vec_text.", BERT_EMBEDDING, BERT_BLOCK)


@architecture("RobertaModel", "RobertaForMaskedLM", "XLMRobertaModel", "XLMRobertaForMaskedLM", "CamembertModel",
              "CamembertForMaskedLM")
def roberta(c: ConfigReader) -> EncoderSpec:
    """RoBERTa, XLM-RoBERTa, CamemBERT. Source: arXiv:1907.11692; config.json of FacebookAI/roberta-base."""
    if c.str("position_embedding_type", default="absolute") == "rotary":
        return jina_flash(c)
    c.harmless("output_past", "use_flash_attn", "emb_pooler")
    return _roberta(c, _NAMES)


@architecture("BgeM3EmbeddingModel")
def bge_m3(c: ConfigReader) -> EncoderSpec:
    """BGE-M3: XLM-RoBERTa with a vector of a prompt, and a vector and a weight of each token. Source: arXiv:2402.03216.

    The first token has no vector, the first and the last have no weight.
    """
    spec, first, last = roberta(c), c.int("bos_token_id", default=0), c.int("eos_token_id", default=2)
    vector = DenseSpec(names=("colbert_linear.pt/",), out_features=spec.hidden_size)
    weight = ClassifierSpec(pooling=None, layers=(DenseSpec(names=("sparse_linear.pt/",), out_features=1),))
    return replace(spec, poolers=(
        PoolerSpec(task="embed", pooling=("cls",)),
        PoolerSpec(task="token_embed", pooling=("last",), projections=(vector,), late_interaction=True,
                   skips=(first, None)),
        PoolerSpec(task="token_classify", pooling=("last",), classifier=weight, num_labels=1, act="relu",
                   skips=(first, last))))


@architecture("Data2VecTextModel", "Data2VecTextForMaskedLM")
def data2vec_text(c: ConfigReader) -> EncoderSpec:
    """data2vec for text. Source: arXiv:2202.03555; config.json of facebook/data2vec-text-base."""
    return _roberta(c, _DATA2VEC_NAMES)


def _roberta(c: ConfigReader, names: NameMap) -> EncoderSpec:
    c.expect("position_embedding_type", None, "absolute")
    norm, positions = bert_norm(c), learned_positions(c, padded_first(c))
    return encoder(c, embedding=embedding(c, norm=norm, positions=positions), names=names,
                   blocks=[encoder_block(c, norm=norm)] * keys.num_layers(c),
                   classifier=dense_classifier(c, "classifier.dense", "classifier.out_proj", act="tanh"),
                   lm_head=roberta_lm_head(c, eps=norm.eps))

"""BERT: every token sees all others; norms after the residual sums; learned positions.

A padding token inside a prompt is treated as any other token, in all encoders.
"""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.classifiers import pooled_classifier
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
from weft.architectures.gguf_names import GGUF_ENCODER, gguf_names
from weft.architectures.lm_heads import bert_lm_head
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import EncoderSpec, PoolerSpec

_NAMES = {prefix: encoder_names(prefix, BERT_EMBEDDING, BERT_BLOCK) for prefix in ("bert.", "ernie.")}


@architecture("BertModel", "BertForMaskedLM", "BertForPreTraining")
def bert(c: ConfigReader) -> EncoderSpec:
    """BERT. Source: arXiv:1810.04805; config.json of google-bert/bert-base-uncased."""
    c.harmless("directionality", "output_past", "pooler_fc_size", "pooler_num_attention_heads",
               "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type")
    return _bert(c, "bert.")


@architecture("BertSpladeSparseEmbeddingModel")
def bert_splade(c: ConfigReader) -> EncoderSpec:
    """BERT whose vectors have a weight for each token of the vocabulary (SPLADE). Source: arXiv:2109.10086."""
    spec = bert(c)
    skips = (c.int("cls_token_id", default=None), c.int("sep_token_id", default=None))
    layers = (*spec.lm_head[:-1], replace(spec.lm_head[-1], act="log1p_relu"))
    return replace(spec, poolers=(
        PoolerSpec(task="embed", pooling=("max",), token_layers=layers, skips=skips, normalize=False),
        PoolerSpec(task="token_embed", pooling=("cls",))))


@architecture("ErnieModel", "ErnieForMaskedLM", "ErnieForPreTraining")
def ernie(c: ConfigReader) -> EncoderSpec:
    """ERNIE without task types. Source: arXiv:1904.09223; config.json of nghuyong/ernie-3.0-base-zh."""
    c.expect("use_task_id", False)
    c.harmless("task_type_vocab_size", "pool_act")
    return _bert(c, "ernie.")


def _bert(c: ConfigReader, prefix: str) -> EncoderSpec:
    c.expect("position_embedding_type", None, "absolute")
    norm = bert_norm(c)
    return encoder(c, embedding=embedding(c, norm=norm, positions=learned_positions(c)), names=_NAMES[prefix],
                   blocks=[encoder_block(c, norm=norm)] * keys.num_layers(c), classifier=pooled_classifier(c, prefix),
                   gguf=gguf_names(GGUF_ENCODER), lm_head=bert_lm_head(c, eps=norm.eps))

"""RoBERTa and BERT with norms before the parts: RoBERTa-PreLayerNorm, XLM-RoBERTa-XL, Megatron-BERT."""

from __future__ import annotations

from dataclasses import replace

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
    padded_first,
)
from weft.architectures.names import NameMap
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import EncoderSpec, NormSpec


def _names(prefix: str, mixer_norm: str, ffn_norm: str, final_norm: str) -> NameMap:
    """Names with the norms of a layer, and the one after all layers, where they are in this family."""
    parts = {source: target for source, target in BERT_BLOCK.items() if not target.endswith("_norm")}
    norms = {f"encoder.layer.{{i}}.{mixer_norm}": "blocks.{i}.mixer_norm",
             f"encoder.layer.{{i}}.{ffn_norm}": "blocks.{i}.ffn_norm", final_norm: "final_norm"}
    return encoder_names(prefix, BERT_EMBEDDING, parts, norms)


_PRE_NORM = _names("roberta_prelayernorm.", "attention.LayerNorm", "intermediate.LayerNorm", "LayerNorm")
_XL = _names("roberta.", "attention.self_attn_layer_norm", "LayerNorm", "encoder.LayerNorm")
_MEGATRON = _names("bert.", "attention.ln", "ln", "encoder.ln")


@architecture("RobertaPreLayerNormModel", "RobertaPreLayerNormForMaskedLM")
def roberta_pre_norm(c: ConfigReader) -> EncoderSpec:
    """RoBERTa-PreLayerNorm. Source: arXiv:1904.01038; config.json of andreasmadsen/efficient_mlm_m0.40."""
    return _encoder(c, _PRE_NORM, padded_first(c), embedding_norm=bert_norm(c))


@architecture("XLMRobertaXLModel", "XLMRobertaXLForMaskedLM")
def xlm_roberta_xl(c: ConfigReader) -> EncoderSpec:
    """XLM-RoBERTa-XL. Source: arXiv:2105.00572; config.json of facebook/xlm-roberta-xl."""
    return _encoder(c, _XL, padded_first(c))


@architecture("MegatronBertModel", "MegatronBertForMaskedLM", "MegatronBertForPreTraining")
def megatron_bert(c: ConfigReader) -> EncoderSpec:
    """Megatron-BERT. Source: arXiv:1909.08053; MegatronBertConfig of Transformers."""
    return replace(_encoder(c, _MEGATRON, 0), sequence_classifier=pooled_classifier(c, "bert."))


def _encoder(c: ConfigReader, names: NameMap, first_position: int, embedding_norm: NormSpec | None = None,
             ) -> EncoderSpec:
    c.expect("position_embedding_type", None, "absolute")
    norm = bert_norm(c)
    return encoder(c, embedding=embedding(c, norm=embedding_norm, positions=learned_positions(c, first_position)),
                   blocks=[encoder_block(c, norm=norm, is_pre_norm=True)] * keys.num_layers(c), final_norm=norm,
                   names=names, classifier=dense_classifier(c, "classifier.dense", "classifier.out_proj", act="tanh"))

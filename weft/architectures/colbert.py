"""ColBERT: a vector for each token, so that two texts are compared token by token (late interaction)."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures.bert import bert
from weft.architectures.modernbert import modernbert
from weft.architectures.nomic_bert import jina_flash
from weft.architectures.pooling_spec import DenseSpec, PoolerSpec
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import EncoderSpec


@architecture("HF_ColBERT")
def colbert(c: ConfigReader) -> EncoderSpec:
    """ColBERT on BERT. Source: arXiv:2004.12832; colbert-ir/colbertv2.0, answerdotai/answerai-colbert-small-v1."""
    return _of_tokens(c, bert(c))


@architecture("ColBERTJinaRobertaModel")
def colbert_jina(c: ConfigReader) -> EncoderSpec:
    """ColBERT on Jina's XLM-RoBERTa. Source: arXiv:2408.16672; config.json of jinaai/jina-colbert-v2."""
    return _of_tokens(c, jina_flash(c))


@architecture("ColBERTModernBertModel")
def colbert_modernbert(c: ConfigReader) -> EncoderSpec:
    """ColBERT on ModernBERT, whose files of PyLate name the layer. Source: lightonai/GTE-ModernColBERT-v1."""
    return modernbert(c)


def _of_tokens(c: ConfigReader, body: EncoderSpec) -> EncoderSpec:
    """The body with the layer `linear` behind each token, whose size the config or else the checkpoint says."""
    size = c.positive("dim", "colbert_dim", "projection_dim", default=None)
    vector = DenseSpec(names=("linear",), out_features=size, bias=None)
    return replace(body, poolers=(PoolerSpec(pooling=("last",), projections=(vector,), late_interaction=True),))

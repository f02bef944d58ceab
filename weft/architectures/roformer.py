"""RoFormer: BERT with rotary positions on neighbouring pairs instead of learned ones."""

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
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import EncoderSpec, Rope

_NAMES = encoder_names("roformer.", BERT_EMBEDDING, BERT_BLOCK, {"embeddings_project": "embedding.project"},
                       ignored=("encoder.embed_positions",))


@architecture("RoFormerModel", "RoFormerForMaskedLM")
def roformer(c: ConfigReader) -> EncoderSpec:
    """RoFormer. Source: arXiv:2104.09864; config.json of junnyu/roformer_chinese_base."""
    c.expect("rotary_value", False)
    norm, hidden = bert_norm(c), keys.hidden_size(c)
    width = c.positive("embedding_size", default=None) or hidden
    rope = Rope(theta=10000.0, rotary_dim=keys.head_dim(c), interleaved=True)
    return encoder(c, embedding=embedding(c, norm=norm, width=width, projects_last=width != hidden),
                   blocks=[encoder_block(c, norm=norm, positions=rope)] * keys.num_layers(c), names=_NAMES,
                   classifier=dense_classifier(c, "classifier.dense", "classifier.out_proj",
                                               act=keys.activation(c, default="gelu")))

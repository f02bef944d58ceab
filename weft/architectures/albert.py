"""ALBERT: few blocks that run many times; embeddings are normed, then projected."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.classifiers import dense_classifier
from weft.architectures.encoders import (
    BERT_EMBEDDING,
    bert_norm,
    embedding,
    encoder,
    encoder_block,
    encoder_names,
    learned_positions,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import EncoderSpec, MLPSpec

_PARTS = {
    "attention.query": "mixer.q", "attention.key": "mixer.k", "attention.value": "mixer.v",
    "attention.dense": "mixer.o", "attention.LayerNorm": "mixer_norm", "ffn": "ffn.up", "ffn_output": "ffn.down",
    "full_layer_layer_norm": "ffn_norm",
}


@architecture("AlbertModel", "AlbertForMaskedLM", "AlbertForPreTraining")
def albert(c: ConfigReader) -> EncoderSpec:
    """ALBERT. Source: arXiv:1909.11942; config.json of albert/albert-base-v2."""
    c.expect("position_embedding_type", None, "absolute")
    c.harmless("classifier_dropout_prob", "down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks")
    norm, layers = bert_norm(c), keys.num_layers(c)
    groups, inner = c.positive("num_hidden_groups", default=1), c.positive("inner_group_num", default=1)
    block = encoder_block(c, norm=norm, ffn=MLPSpec(
        intermediate_size=c.positive("intermediate_size"), gated=False, bias=True,
        act=keys.activation(c, default="gelu_new")))
    homes = {f"encoder.albert_layer_groups.{group}.albert_layers.{layer}.{source}":
             f"blocks.{group * inner + layer}.{target}"
             for group in range(groups) for layer in range(inner) for source, target in _PARTS.items()}
    tables = embedding(c, norm=norm, positions=learned_positions(c), projects_last=True,
                       width=c.positive("embedding_size", default=128))
    return encoder(
        c, embedding=tables, blocks=[block] * (groups * inner),
        order=tuple(i * groups // layers * inner + layer for i in range(layers) for layer in range(inner)),
        classifier=dense_classifier(c, "albert.pooler", "classifier", act="tanh"),
        names=encoder_names("albert.", BERT_EMBEDDING, homes, {"encoder.embedding_hidden_mapping_in":
                                                               "embedding.project"},
                            heads=("predictions.", "sop_classifier."), ignored=("pooler",)))

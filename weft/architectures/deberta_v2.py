"""DeBERTa v2 and v3: BERT whose attention also compares tokens with trained vectors for their distance."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.classifiers import dense_classifier
from weft.architectures.encoders import (
    BERT_BLOCK,
    BERT_EMBEDDING,
    embedding,
    encoder,
    encoder_block,
    encoder_names,
    learned_positions,
)
from weft.architectures.parts import layer_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Disentangled, EncoderSpec, LayerNorm

_SELF = "encoder.layer.{i}.attention.self."
_NAMES = encoder_names("deberta.", BERT_EMBEDDING, BERT_BLOCK, {
    _SELF + "query_proj": "blocks.{i}.mixer.q",
    _SELF + "key_proj": "blocks.{i}.mixer.k",
    _SELF + "value_proj": "blocks.{i}.mixer.v",
    _SELF + "pos_key_proj": "blocks.{i}.mixer.distance_k",
    _SELF + "pos_query_proj": "blocks.{i}.mixer.distance_q",
    "encoder.rel_embeddings": "relative",
    "encoder.LayerNorm": "relative.norm",
}, heads=("lm_predictions.", "mask_predictions."))


@architecture("DebertaV2Model", "DebertaV2ForMaskedLM")
def deberta_v2(c: ConfigReader) -> EncoderSpec:
    """DeBERTa v2 and v3. Source: arXiv:2006.03654, arXiv:2111.09543; config.json of microsoft/deberta-v3-base."""
    c.expect("conv_kernel_size", None, 0)
    c.expect("embedding_size", None, keys.hidden_size(c))
    c.expect("attention_head_size", None, keys.head_dim(c))
    c.harmless("legacy", "pooler_dropout", "position_buckets", "max_relative_positions",
               "norm_rel_ebd", "share_att_key")
    norm = layer_norm(c, eps=1e-7)
    positions = _distances(c, norm) if c.bool("relative_attention", default=False) else None
    terms = 1 + (positions.queries_to_distances + positions.keys_to_distances if positions else len(_kinds(c)))
    block = encoder_block(c, norm=norm, positions=positions, scale=(keys.head_dim(c) * terms) ** -0.5)
    learned = learned_positions(c) if c.bool("position_biased_input", default=True) else None
    return encoder(c, embedding=embedding(c, norm=norm, positions=learned, token_types=0), names=_NAMES,
                   blocks=[block] * keys.num_layers(c), classifier=dense_classifier(
                       c, "pooler.dense", "classifier", act=keys.activation(c, "pooler_hidden_act", default="gelu")))


def _kinds(c: ConfigReader) -> set[str]:
    """"c2p" and "p2c": products of queries with distances, of keys with distances. Older configs have one string."""
    given = c.value("pos_att_type")
    kinds = set(given.split("|") if isinstance(given, str) else c.list("pos_att_type", default=None) or ())
    c.harmless("pos_att_type")
    if not kinds <= {"c2p", "p2c"}:
        raise c.error("pos_att_type", given, "a list of c2p and p2c")
    return kinds


def _distances(c: ConfigReader, norm: LayerNorm) -> Disentangled:
    kinds, longest = _kinds(c), c.int("max_relative_positions", default=-1)
    buckets = c.int("position_buckets", default=-1)
    is_normed = "layer_norm" in c.str("norm_rel_ebd", default="none").lower()
    return Disentangled(
        max_distance=longest if longest >= 1 else c.positive("max_position_embeddings", default=512),
        num_buckets=buckets if buckets > 0 else None, queries_to_distances="c2p" in kinds,
        keys_to_distances="p2c" in kinds, shares_projections=c.bool("share_att_key", default=False),
        norm=norm if is_normed else None)

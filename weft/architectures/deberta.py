"""DeBERTa: BERT whose attention also compares tokens with trained vectors for their distance."""

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
from weft.architectures.names import GroupedQKV, NameMap, Rule
from weft.architectures.parts import layer_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Disentangled, EncoderSpec, LayerNorm

_SELF, _MIXER = "encoder.layer.{i}.attention.self.", "blocks.{i}.mixer."
_HEADS = ("lm_predictions.", "mask_predictions.")
_NAMES = encoder_names("deberta.", BERT_EMBEDDING, BERT_BLOCK, {
    _SELF + "query_proj": "blocks.{i}.mixer.q",
    _SELF + "key_proj": "blocks.{i}.mixer.k",
    _SELF + "value_proj": "blocks.{i}.mixer.v",
    _SELF + "pos_key_proj": "blocks.{i}.mixer.distance_k",
    _SELF + "pos_query_proj": "blocks.{i}.mixer.distance_q",
    "encoder.rel_embeddings": "relative",
    "encoder.LayerNorm": "relative.norm",
}, heads=_HEADS)


@architecture("DebertaV2Model", "DebertaV2ForMaskedLM")
def deberta_v2(c: ConfigReader) -> EncoderSpec:
    """DeBERTa v2 and v3. Source: arXiv:2006.03654, arXiv:2111.09543; config.json of microsoft/deberta-v3-base."""
    c.expect("conv_kernel_size", None, 0)
    c.expect("attention_head_size", None, keys.head_dim(c))
    c.harmless("position_buckets", "max_relative_positions", "norm_rel_ebd", "share_att_key")
    is_relative, norm = c.bool("relative_attention", default=False), layer_norm(c, eps=1e-7)
    return _deberta(c, _distances(c, norm) if is_relative else None, norm, _NAMES)


@architecture("DebertaModel", "DebertaForMaskedLM")
def deberta(c: ConfigReader) -> EncoderSpec:
    """DeBERTa v1. Source: arXiv:2006.03654; config.json of microsoft/deberta-base."""
    c.expect("talking_head", None, False)
    c.harmless("max_relative_positions", "position_buckets", "norm_rel_ebd", "share_att_key")     # v2's
    is_relative, heads = c.bool("relative_attention", default=False), keys.num_heads(c)
    targets = tuple(_MIXER + part for part in "qkv")
    stored = {
        "in_proj": Rule(_SELF + "in_proj", targets, GroupedQKV(
            num_groups=heads, queries_per_group=1, head_dim=keys.head_dim(c))),
        "q_bias": _MIXER + "q.bias",
        "v_bias": _MIXER + "v.bias",
        "pos_proj": _MIXER + "distance_k", "pos_q_proj": _MIXER + "distance_q"}
    names = encoder_names("deberta.", BERT_EMBEDDING, BERT_BLOCK, {
        _SELF + source: target for source, target in stored.items()}, {"encoder.rel_embeddings": "relative"},
        heads=_HEADS)
    positions = None if not is_relative else Disentangled(
        max_distance=_farthest(c), queries_to_distances="c2p" in _kinds(c), keys_to_distances="p2c" in _kinds(c),
        shares_projections=False, key_bias=False)
    return _deberta(c, positions, layer_norm(c, eps=1e-7), names, k_bias=False)


def _deberta(c: ConfigReader, positions: Disentangled | None, norm: LayerNorm, names: NameMap, *,
             k_bias: bool = True) -> EncoderSpec:
    c.expect("embedding_size", None, keys.hidden_size(c))
    c.harmless("legacy", "pooler_dropout")
    terms = 1 + (positions.queries_to_distances + positions.keys_to_distances if positions else len(_kinds(c)))
    block = encoder_block(c, norm=norm, positions=positions, scale=(keys.head_dim(c) * terms) ** -0.5, k_bias=k_bias)
    learned = learned_positions(c) if c.bool("position_biased_input", default=True) else None
    return encoder(c, embedding=embedding(c, norm=norm, positions=learned, token_types=0), names=names,
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


def _farthest(c: ConfigReader) -> int:
    longest = c.int("max_relative_positions", default=-1)
    return longest if longest >= 1 else c.positive("max_position_embeddings", default=512)


def _distances(c: ConfigReader, norm: LayerNorm) -> Disentangled:
    kinds = _kinds(c)
    buckets = c.int("position_buckets", default=-1)
    is_normed = "layer_norm" in c.str("norm_rel_ebd", default="none").lower()
    return Disentangled(
        max_distance=_farthest(c),
        num_buckets=buckets if buckets > 0 else None, queries_to_distances="c2p" in kinds,
        keys_to_distances="p2c" in kinds, shares_projections=c.bool("share_att_key", default=False),
        norm=norm if is_normed else None)

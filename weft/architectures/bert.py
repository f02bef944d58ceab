"""BERT and RoBERTa, encoders: every token sees all others; norms after the residual sums; learned positions.

RoBERTa's positions start at the padding token's id + 1. A padding token inside a prompt is treated as any other token.
"""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.classifiers import dense_classifier, pooled_classifier
from weft.architectures.names import NameMap, Rule, names
from weft.architectures.parts import attention, layer_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import (
    BlockSpec,
    ClassifierSpec,
    EmbeddingSpec,
    EncoderSpec,
    LearnedPositions,
    MLPSpec,
)
from weft.cache.masks import Bidirectional

_LAYER = "encoder.layer.{i}."


def _names(prefix: str) -> NameMap:
    mapping: dict[str, str | tuple[str, ...] | Rule] = {
        "embeddings.word_embeddings": "embedding.tokens",
        "embeddings.position_embeddings": "embedding.positions",
        "embeddings.token_type_embeddings": "embedding.token_types",
        "embeddings.LayerNorm": "embedding.norm",
        _LAYER + "attention.self.query": "blocks.{i}.mixer.q",
        _LAYER + "attention.self.key": "blocks.{i}.mixer.k",
        _LAYER + "attention.self.value": "blocks.{i}.mixer.v",
        _LAYER + "attention.output.dense": "blocks.{i}.mixer.o",
        _LAYER + "attention.output.LayerNorm": "blocks.{i}.mixer_norm",
        _LAYER + "intermediate.dense": "blocks.{i}.ffn.up",
        _LAYER + "output.dense": "blocks.{i}.ffn.down",
        _LAYER + "output.LayerNorm": "blocks.{i}.ffn_norm",
    }
    # The pooler (a layer on the first token's state) and the pre-training heads do not change the hidden states.
    return names({prefix + source: target for source, target in mapping.items()}, optional_prefix=prefix,
                 ignored=(prefix + "embeddings.position_ids", prefix + "pooler.dense"),
                 ignored_prefixes=("cls.", "lm_head."))


_BERT_NAMES, _ROBERTA_NAMES = _names("bert."), _names("roberta.")


@architecture("BertModel")
def bert(c: ConfigReader) -> EncoderSpec:
    """BERT. Source: arXiv:1810.04805; config.json of google-bert/bert-base-uncased."""
    return _encoder(c, names=_BERT_NAMES, num_types=2, first_position=0, classifier=pooled_classifier(c, "bert."))


@architecture("RobertaModel")
def roberta(c: ConfigReader) -> EncoderSpec:
    """RoBERTa. Source: arXiv:1907.11692; config.json of FacebookAI/roberta-base."""
    padding = c.int("pad_token_id", default=1)
    if padding < 0:
        raise c.error("pad_token_id", padding, "a token id, as positions are counted from it")
    return _encoder(c, names=_ROBERTA_NAMES, num_types=2, first_position=padding + 1,
                    classifier=dense_classifier(c, "classifier.dense", "classifier.out_proj", act="tanh"))


def _encoder(c: ConfigReader, *, names: NameMap, num_types: int, first_position: int,
             classifier: ClassifierSpec) -> EncoderSpec:
    norm, hidden, vocab = layer_norm(c, eps=1e-12), keys.hidden_size(c), c.positive("vocab_size")
    c.expect("position_embedding_type", None, "absolute")
    c.expect("is_decoder", False)
    c.expect("add_cross_attention", False)
    c.harmless("attention_probs_dropout_prob", "tie_word_embeddings", "classifier_dropout", "directionality",
               "output_past", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
               "pooler_size_per_head", "pooler_type")
    num_positions = c.positive("max_position_embeddings", default=512) - first_position
    if num_positions < 1:
        raise c.error("max_position_embeddings", num_positions + first_position, f"more than {first_position}")
    block = BlockSpec(
        mixer=attention(c, positions=None, num_kv_heads=keys.num_heads(c), qkv_bias=True, out_bias=True,
                        mask=Bidirectional()),
        ffn=MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=False, bias=True,
                    act=keys.activation(c, default="gelu")),
        mixer_norm=norm, ffn_norm=norm, post_residual=True)
    return EncoderSpec(
        hidden_size=hidden, vocab_size=vocab, max_position=num_positions, final_norm=None, default_pooling="cls",
        embedding=EmbeddingSpec(vocab_size=vocab, norm=norm, token_types=c.positive("type_vocab_size",
                                                                                    default=num_types),
                                positions=LearnedPositions(num_positions=num_positions, offset=first_position)),
        blocks=(block,) * keys.num_layers(c), names=names, sequence_classifier=classifier)

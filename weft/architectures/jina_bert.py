"""Jina embeddings v2: BERT with ALiBi to both sides and gated feed-forward parts."""

from __future__ import annotations

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
)
from weft.architectures.gguf_names import GGUF_ENCODER, gguf_names
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Activation, Alibi, EncoderSpec, MLPSpec

_LAYER = "encoder.layer.{i}."
_NAMES = encoder_names("bert.", BERT_EMBEDDING, {
    source: target for source, target in BERT_BLOCK.items() if "attention." in source}, {
    _LAYER + "mlp.gated_layers": ("blocks.{i}.ffn.gate", "blocks.{i}.ffn.up"),
    _LAYER + "mlp.wo": "blocks.{i}.ffn.down",
    _LAYER + "mlp.layernorm": "blocks.{i}.ffn_norm",
})
_GATES: dict[str, Activation] = {"geglu": "gelu", "reglu": "relu"}


@architecture("JinaBertModel", "JinaBertForMaskedLM")
def jina_bert(c: ConfigReader) -> EncoderSpec:
    """Jina embeddings v2. Source: arXiv:2310.19923; config.json of jinaai/jina-embeddings-v2-base-en."""
    c.expect("position_embedding_type", "alibi")
    c.harmless("hidden_act", "emb_pooler", "attn_implementation")
    gate = c.choice("feed_forward_type", allowed=tuple(_GATES), default="geglu")
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=True, act=_GATES[gate], down_bias=True)
    norm = bert_norm(c)
    return encoder(c, embedding=embedding(c, norm=norm), names=_NAMES, pooling="mean",
                   blocks=[encoder_block(c, norm=norm, ffn=ffn, positions=Alibi())] * keys.num_layers(c),
                   classifier=pooled_classifier(c, "bert."), gguf=gguf_names(GGUF_ENCODER))

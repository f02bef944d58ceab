"""Jina embeddings v2: BERT with ALiBi to both sides and gated feed-forward parts."""

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
)
from weft.architectures.gguf_names import GGUF_ENCODER, gguf_names
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Activation, Alibi, EncoderSpec, MLPSpec, QKNorm

_LAYER = "encoder.layer.{i}."
_ATTENTION = {source: target for source, target in BERT_BLOCK.items() if "attention." in source}
_NAMES = encoder_names("bert.", BERT_EMBEDDING, _ATTENTION, {
    _LAYER + "mlp.gated_layers": ("blocks.{i}.ffn.gate", "blocks.{i}.ffn.up"),
    _LAYER + "mlp.wo": "blocks.{i}.ffn.down",
    _LAYER + "mlp.layernorm": "blocks.{i}.ffn_norm",
})
# The code embedder's.
_CODE_NAMES = encoder_names("bert.", BERT_EMBEDDING, _ATTENTION, {
    _LAYER + "attention.self.layer_norm_q": "blocks.{i}.mixer.q_norm",
    _LAYER + "attention.self.layer_norm_k": "blocks.{i}.mixer.k_norm",
    _LAYER + "attention.output.LayerNorm": "blocks.{i}.mixer_post_norm",
    _LAYER + "layer_norm_1": "blocks.{i}.mixer_norm",
    _LAYER + "mlp.up_gated_layer": ("blocks.{i}.ffn.up", "blocks.{i}.ffn.gate"),
    _LAYER + "mlp.down_layer": "blocks.{i}.ffn.down",
    _LAYER + "layer_norm_2": "blocks.{i}.ffn_norm",
})
_CODE_CLASS = "jinaai/jina-bert-v2-qk-post-norm--"        # the repository of the code embedder's classes
_GATES: dict[str, Activation] = {"geglu": "gelu", "reglu": "relu"}


@architecture("JinaBertModel", "JinaBertForMaskedLM")
def jina_bert(c: ConfigReader) -> EncoderSpec:
    """Jina embeddings v2. Source: arXiv:2310.19923; config.json of jinaai/jina-embeddings-v2-base-en.

    The code embedder (jina-embeddings-v2-base-code), which `auto_map` tells, also norms q and k, and adds attention's
    result to its input twice, with a norm after each sum.
    """
    c.expect("position_embedding_type", "alibi")
    c.harmless("hidden_act", "emb_pooler", "attn_implementation")
    gate = c.choice("feed_forward_type", allowed=tuple(_GATES), default="geglu")
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=True, act=_GATES[gate], down_bias=True)
    norm, classes = bert_norm(c), c.dict("auto_map", default=None) or {}
    is_code = any(str(name).startswith(_CODE_CLASS) for name in classes.values())
    block = encoder_block(c, norm=norm, ffn=ffn, positions=Alibi(),
                          qk_norm=QKNorm(norm=norm, scope="all") if is_code else None)
    block = replace(block, mixer_post_norm=norm) if is_code else block
    return encoder(c, embedding=embedding(c, norm=norm), names=_CODE_NAMES if is_code else _NAMES, pooling="mean",
                   blocks=[block] * keys.num_layers(c), classifier=pooled_classifier(c, "bert."),
                   gguf=None if is_code else gguf_names(GGUF_ENCODER))

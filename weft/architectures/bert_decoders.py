"""BERT and its relatives as decoders (`is_decoder`): their encoders with causal attention, and a head for tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from weft.architectures import keys
from weft.architectures.bert import bert, ernie
from weft.architectures.electra import electra
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
from weft.architectures.names import NameMap, names
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.roberta import data2vec_text, roberta
from weft.architectures.roberta_pre_norm import megatron_bert, roberta_pre_norm, xlm_roberta_xl
from weft.architectures.roformer import roformer
from weft.architectures.spec import Activation, DecoderSpec, EncoderSpec, HeadSpec, HeadTransform

_BERT_HEAD = {"cls.predictions.transform.dense": "head.transform",
              "cls.predictions.transform.LayerNorm": "head.transform_norm",
              "cls.predictions.bias": "head.bias", "cls.predictions.decoder": "head"}
_ROBERTA_HEAD = {"lm_head.dense": "head.transform", "lm_head.layer_norm": "head.transform_norm",
                 "lm_head.bias": "head.bias", "lm_head.decoder": "head"}
_ELECTRA_HEAD = {"generator_predictions.dense": "head.transform",
                 "generator_predictions.LayerNorm": "head.transform_norm",
                 "generator_lm_head": "head"}
_GENERATION_HEAD = {"lm_head.bias": "head.bias", "lm_head.decoder": "head"}
_GENERATION_NAMES = encoder_names("bert.", BERT_EMBEDDING, BERT_BLOCK)


@architecture("BertLMHeadModel")
def bert_decoder(c: ConfigReader) -> DecoderSpec:
    """BERT as a decoder. Source: `BertLMHeadModel` of Transformers."""
    return _decoder(c, bert(c), _BERT_HEAD, keys.activation(c, default="gelu"))


@architecture("ErnieForCausalLM")
def ernie_decoder(c: ConfigReader) -> DecoderSpec:
    """ERNIE as a decoder. Source: `ErnieForCausalLM` of Transformers."""
    return _decoder(c, ernie(c), _BERT_HEAD, keys.activation(c, default="gelu"))


@architecture("RobertaForCausalLM", "XLMRobertaForCausalLM", "CamembertForCausalLM")
def roberta_decoder(c: ConfigReader) -> DecoderSpec:
    """RoBERTa, XLM-RoBERTa and CamemBERT as decoders. Source: `RobertaForCausalLM` of Transformers."""
    return _decoder(c, roberta(c), _ROBERTA_HEAD, "gelu")


@architecture("Data2VecTextForCausalLM")
def data2vec_text_decoder(c: ConfigReader) -> DecoderSpec:
    """data2vec for text as a decoder. Source: `Data2VecTextForCausalLM` of Transformers."""
    return _decoder(c, data2vec_text(c), _ROBERTA_HEAD, "gelu")


@architecture("RobertaPreLayerNormForCausalLM")
def roberta_pre_norm_decoder(c: ConfigReader) -> DecoderSpec:
    """RoBERTa-PreLayerNorm as a decoder. Source: `RobertaPreLayerNormForCausalLM` of Transformers."""
    return _decoder(c, roberta_pre_norm(c), _ROBERTA_HEAD, "gelu")


@architecture("XLMRobertaXLForCausalLM")
def xlm_roberta_xl_decoder(c: ConfigReader) -> DecoderSpec:
    """XLM-RoBERTa-XL as a decoder. Source: `XLMRobertaXLForCausalLM` of Transformers."""
    return _decoder(c, xlm_roberta_xl(c), _ROBERTA_HEAD, "gelu")


@architecture("MegatronBertForCausalLM")
def megatron_bert_decoder(c: ConfigReader) -> DecoderSpec:
    """Megatron-BERT as a decoder. Source: `MegatronBertForCausalLM` of Transformers."""
    return _decoder(c, megatron_bert(c), _BERT_HEAD, keys.activation(c, default="gelu"))


@architecture("ElectraForCausalLM")
def electra_decoder(c: ConfigReader) -> DecoderSpec:
    """ELECTRA as a decoder; its head always has GELU. Source: `ElectraForCausalLM` of Transformers."""
    return _decoder(c, electra(c), _ELECTRA_HEAD, "gelu")


@architecture("RoFormerForCausalLM")
def roformer_decoder(c: ConfigReader) -> DecoderSpec:
    """RoFormer as a decoder. Source: `RoFormerForCausalLM` of Transformers."""
    return _decoder(c, roformer(c), _BERT_HEAD, keys.activation(c, default="gelu"))


@architecture("BertGenerationDecoder")
def bert_generation_decoder(c: ConfigReader) -> DecoderSpec:
    """BERT for generation, without token types. Source: arXiv:1907.12461; `BertGenerationDecoder` of Transformers."""
    norm = bert_norm(c)
    spec = encoder(c, embedding=embedding(c, norm=norm, positions=learned_positions(c), token_types=None),
                   blocks=[encoder_block(c, norm=norm)] * keys.num_layers(c), names=_GENERATION_NAMES)
    return _decoder(c, spec, _GENERATION_HEAD, None)


def _decoder(c: ConfigReader, spec: EncoderSpec, head: Mapping[str, str], act: Activation | None) -> DecoderSpec:
    """The encoder with a head. act: of the head's own layer; None: the head has no such layer."""
    c.expect("is_decoder", True)
    transform = None if act is None else HeadTransform(act=act, norm=bert_norm(c))
    tied = c.bool("tie_word_embeddings", default=True)
    return DecoderSpec(
        hidden_size=spec.hidden_size, vocab_size=spec.vocab_size, max_position=spec.max_position,
        embedding=spec.embedding, blocks=spec.blocks, final_norm=spec.final_norm,
        names=_names(spec.names, head, tied), head=HeadSpec(bias=True, tied=tied, transform=transform))


def _names(encoder: NameMap, head: Mapping[str, str], tied: bool) -> NameMap:
    """The encoder's names and the head's, whose tensors it would leave out.

    Transformers keeps a bias beside the head's last layer and ties the layer's own to it. Where they are not tied, the
    layer's own bias counts.
    """
    last = next(name for name, home in head.items() if home == "head")
    beside = tuple(name for name, home in head.items() if home == "head.bias")
    rules, unused = {name: home for name, home in head.items() if name not in beside}, beside
    if beside and tied:
        rules = {name: home for name, home in head.items() if name != last} | {f"{last}.weight": "head.weight"}
        unused = (f"{last}.bias",)
    return replace(encoder, rules=(*encoder.rules, *names(rules).rules), ignored_prefixes=("qa_outputs.",),
                   ignored=(*encoder.ignored, *unused))

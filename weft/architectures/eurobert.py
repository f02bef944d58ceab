"""EuroBERT and UltraBERT: Llama's layers, whose tokens see both sides."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.encoders import embedding, encoder, encoder_block, encoder_names
from weft.architectures.names import NameMap
from weft.architectures.parts import LLAMA_BLOCK, gated_mlp, layer_windows, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.rope import has_layer_ropes
from weft.architectures.spec import ClassifierSpec, DenseSpec, EncoderSpec
from weft.cache.masks import Bidirectional

_RULES = {source.removeprefix("model."): target for source, target in LLAMA_BLOCK.items()} | {
    "embed_tokens": "embedding.tokens", "norm": "final_norm"}
_EURO, _ULTRA = (encoder_names(prefix, _RULES, heads=("head.",)) for prefix in ("model.", "ultrabert."))


@architecture("EuroBertModel", "EuroBertForMaskedLM")
def eurobert(c: ConfigReader) -> EncoderSpec:
    """EuroBERT. Source: arXiv:2503.05500; config.json of EuroBERT/EuroBERT-210m."""
    where = c.choice("classifier_pooling", "clf_pooling", allowed=("bos", "mean", "late"), default="late")
    layers = (DenseSpec(names=("dense",), out_features=keys.hidden_size(c), act="gelu"),
              DenseSpec(names=("classifier",), out_features=None))
    return _encoder(c, _EURO, [None] * keys.num_layers(c), ClassifierSpec(
        layers=layers, pooling="cls" if where == "bos" else "mean", pools_logits=where == "late"))


@architecture("UltrabertModel", "UltrabertForMaskedLM")
def ultrabert(c: ConfigReader) -> EncoderSpec:
    """UltraBERT, with local attention in most layers. Source: UltrabertConfig of Transformers."""
    c.harmless("prediction_head_size")
    windows = layer_windows(c, c.positive("sliding_window", default=128),
                            [(i + 1) % 3 != 0 for i in range(keys.num_layers(c))])
    return _encoder(c, _ULTRA, windows, ClassifierSpec(
        layers=(DenseSpec(names=("classifier",), out_features=None),),
        pooling=c.choice("classifier_pooling", allowed=("cls", "mean"), default="cls")))


def _encoder(c: ConfigReader, names: NameMap, windows: list[int | None], classifier: ClassifierSpec) -> EncoderSpec:
    """windows: tokens that each layer's tokens see on each side, [L]; None: all."""
    c.harmless("mask_token_id")
    norm, has_kinds = rms_norm(c), has_layer_ropes(c)
    blocks = [encoder_block(
        c, norm=norm, is_pre_norm=True, num_kv_heads=keys.num_kv_heads(c), mask=Bidirectional(radius=window),
        ffn=gated_mlp(c, bias=c.bool("mlp_bias", default=False)), has_bias=c.bool("attention_bias", default=False),
        positions=rope(c, layer_type=("full_attention" if window is None else "sliding_attention") if has_kinds
                       else None)) for window in windows]
    return encoder(c, embedding=embedding(c, norm=None, token_types=None), blocks=blocks, final_norm=norm, names=names,
                   pooling="mean", classifier=classifier)

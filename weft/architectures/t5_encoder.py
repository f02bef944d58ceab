"""The encoders of T5, mT5 and UMT5: norms before the parts, unscaled scores with a relative bias, no positions."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.encoders import embedding, encoder, encoder_block, encoder_names, relative_bias
from weft.architectures.names import NameMap
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Activation, EncoderSpec, MLPSpec, RMSNorm

_SELF, _FFN = "encoder.block.{i}.layer.0.SelfAttention.", "encoder.block.{i}.layer.1."
_ACTS: dict[str, tuple[Activation, bool]] = {"relu": ("relu", False), "gated-gelu": ("gelu_new", True),
                                             "gated-silu": ("silu", True)}


def _names(bias: str, home: str) -> NameMap:
    return encoder_names("", {
        "shared": "embedding.tokens",
        _SELF + "q": "blocks.{i}.mixer.q",
        _SELF + "k": "blocks.{i}.mixer.k",
        _SELF + "v": "blocks.{i}.mixer.v",
        _SELF + "o": "blocks.{i}.mixer.o",
        bias: home,
        "encoder.block.{i}.layer.0.layer_norm": "blocks.{i}.mixer_norm",
        _FFN + "DenseReluDense.wi": "blocks.{i}.ffn.up",
        _FFN + "DenseReluDense.wi_0": "blocks.{i}.ffn.gate",
        _FFN + "DenseReluDense.wi_1": "blocks.{i}.ffn.up",
        _FFN + "DenseReluDense.wo": "blocks.{i}.ffn.down",
        _FFN + "layer_norm": "blocks.{i}.ffn_norm",
        "encoder.final_layer_norm": "final_norm",
    }, heads=("decoder.",), ignored=("encoder.embed_tokens",))


_T5 = _names(_SELF.replace("{i}", "0", 1) + "relative_attention_bias", "relative")
_UMT5 = _names(_SELF + "relative_attention_bias", "blocks.{i}.mixer.relative")


@architecture("T5EncoderModel", "MT5EncoderModel")
def t5_encoder(c: ConfigReader) -> EncoderSpec:
    """T5's and mT5's encoder. Source: arXiv:1910.10683, arXiv:2010.11934; config.json of google-t5/t5-base."""
    return _encoder(c, _T5, is_shared=True)


@architecture("UMT5EncoderModel")
def umt5_encoder(c: ConfigReader) -> EncoderSpec:
    """UMT5's encoder, with a bias in each layer. Source: arXiv:2304.09151; config.json of google/umt5-base."""
    return _encoder(c, _UMT5, is_shared=False)


def _encoder(c: ConfigReader, names: NameMap, *, is_shared: bool) -> EncoderSpec:
    c.harmless("num_decoder_layers", "dropout_rate", "dense_act_fn", "is_gated_act", "scale_decoder_outputs",
               "output_past")
    act, is_gated = _ACTS[c.choice("feed_forward_proj", allowed=tuple(_ACTS), default="relu")]
    norm = RMSNorm(eps=c.positive_float("layer_norm_epsilon", default=1e-6))
    bias = relative_bias(c, max_distance=c.positive("relative_attention_max_distance", default=128),
                         is_shared=is_shared)
    block = encoder_block(c, norm=norm, is_pre_norm=True, positions=bias, has_bias=False, scale=1.0, ffn=MLPSpec(
        intermediate_size=c.positive("d_ff", "intermediate_size"), act=act, gated=is_gated))
    return encoder(c, embedding=embedding(c, norm=None, token_types=None), blocks=[block] * keys.num_layers(c),
                   final_norm=norm, names=names, pooling="mean")

"""The encoders of T5, mT5 and UMT5: norms before the parts, unscaled scores with a relative bias, no positions."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.encoders import Rules, embedding, encoder, encoder_block, encoder_names, relative_bias
from weft.architectures.names import NameMap
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Activation, EncoderSpec, MLPSpec, RMSNorm

_ACTS: dict[str, tuple[Activation, bool]] = {"relu": ("relu", False), "gated-gelu": ("gelu_new", True),
                                             "gated-silu": ("silu", True)}


def side_names(side: str, ffn: int, *, is_shared: bool, attention: str = "SelfAttention") -> Rules:
    """Rules of the encoder's or the decoder's blocks. side: "encoder" or "decoder". ffn: number of the feed-forward
    part in a block. is_shared: the first block has the bias of all. attention: its name.
    """
    block = side + ".block.{i}.layer."
    bias = {f"{side}.block.0.layer.0.{attention}.relative_attention_bias": "relative"} if is_shared else {
        f"{block}0.{attention}.relative_attention_bias": "blocks.{i}.mixer.relative"}
    parts = {f"{block}0.{attention}.{name}": f"blocks.{{i}}.mixer.{name}" for name in ("q", "k", "v", "o")}
    return parts | bias | {
        f"{block}0.layer_norm": "blocks.{i}.mixer_norm",
        f"{block}{ffn}.DenseReluDense.wi": "blocks.{i}.ffn.up",
        f"{block}{ffn}.DenseReluDense.wi_0": "blocks.{i}.ffn.gate",
        f"{block}{ffn}.DenseReluDense.wi_1": "blocks.{i}.ffn.up",
        f"{block}{ffn}.DenseReluDense.wo": "blocks.{i}.ffn.down",
        f"{block}{ffn}.layer_norm": "blocks.{i}.ffn_norm",
        f"{side}.final_layer_norm": "final_norm",
    }


def _names(*, is_shared: bool) -> NameMap:
    return encoder_names("", {"shared": "embedding.tokens"}, side_names("encoder", 1, is_shared=is_shared),
                         heads=("decoder.",), ignored=("encoder.embed_tokens",))


_T5, _UMT5 = _names(is_shared=True), _names(is_shared=False)


@architecture("T5EncoderModel", "MT5EncoderModel")
def t5_encoder(c: ConfigReader) -> EncoderSpec:
    """T5's and mT5's encoder. Source: arXiv:1910.10683, arXiv:2010.11934; config.json of google-t5/t5-base."""
    return _encoder(c, _T5, is_shared=True)


@architecture("UMT5EncoderModel")
def umt5_encoder(c: ConfigReader) -> EncoderSpec:
    """UMT5's encoder, with a bias in each layer. Source: arXiv:2304.09151; config.json of google/umt5-base."""
    return _encoder(c, _UMT5, is_shared=False)


def mlp(c: ConfigReader) -> MLPSpec:
    """The feed-forward part, gated since T5 1.1."""
    c.harmless("dense_act_fn", "is_gated_act")
    act, is_gated = _ACTS[c.choice("feed_forward_proj", allowed=tuple(_ACTS), default="relu")]
    return MLPSpec(intermediate_size=c.positive("d_ff", "intermediate_size"), act=act, gated=is_gated)


def norm(c: ConfigReader) -> RMSNorm:
    """The norm before each part and at the end."""
    return RMSNorm(eps=c.positive_float("layer_norm_epsilon", default=1e-6))


def _encoder(c: ConfigReader, names: NameMap, *, is_shared: bool) -> EncoderSpec:
    c.harmless("num_decoder_layers", "dropout_rate", "scale_decoder_outputs", "output_past")
    bias = relative_bias(c, max_distance=c.positive("relative_attention_max_distance", default=128),
                         is_shared=is_shared)
    block = encoder_block(c, norm=norm(c), is_pre_norm=True, positions=bias, has_bias=False, scale=1.0, ffn=mlp(c))
    return encoder(c, embedding=embedding(c, norm=None, token_types=None), blocks=[block] * keys.num_layers(c),
                   final_norm=norm(c), names=names, pooling="mean")

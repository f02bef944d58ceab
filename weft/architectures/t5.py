"""T5 (also 1.1 and FLAN), mT5 and UMT5 whole: the encoder, and a decoder whose relative bias sees earlier keys only."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.encoder_decoders import cross_attention, encoder_decoder, of_encoder, pair_names, self_attention
from weft.architectures.names import NameMap
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, Causal, DecoderSpec, EncoderSpec, HeadSpec, RelativeBias
from weft.architectures.t5_encoder import side_names, t5_encoder, umt5_encoder
from weft.cache.masks import Bidirectional
from weft.errors import NotBuiltError

_CROSS = {f"decoder.block.{{i}}.layer.1.EncDecAttention.{name}": f"blocks.{{i}}.cross.{name}" for name in "qkvo"}


def _names(*, is_shared: bool = True, attention: str = "SelfAttention") -> NameMap:
    return pair_names(
        {"shared": "embedding.tokens", "lm_head": "head",
         "decoder.block.{i}.layer.1.layer_norm": "blocks.{i}.cross_norm"},
        of_encoder(side_names("encoder", 1, is_shared=is_shared, attention=attention)), _CROSS,
        side_names("decoder", 2, is_shared=is_shared),
        ignored=("encoder.embed_tokens", "decoder.embed_tokens",
                 "decoder.block.{i}.layer.1.EncDecAttention.relative_attention_bias"))


_T5, _UMT5, _LONG = _names(), _names(is_shared=False), _names(attention="LocalSelfAttention")


@architecture("T5ForConditionalGeneration")
def t5(c: ConfigReader) -> DecoderSpec:
    """T5, T5 1.1 and FLAN. Source: arXiv:1910.10683, arXiv:2210.11416; config.json of google-t5/t5-base."""
    return _decoder(c, t5_encoder(c), _T5, scale=_scale(c))


@architecture("MT5ForConditionalGeneration")
def mt5(c: ConfigReader) -> DecoderSpec:
    """mT5, whose final states are never scaled. Source: arXiv:2010.11934; config.json of google/mt5-base."""
    return _decoder(c, t5_encoder(c), _T5)


@architecture("UMT5ForConditionalGeneration")
def umt5(c: ConfigReader) -> DecoderSpec:
    """UMT5, with a bias in each layer. Source: arXiv:2304.09151; config.json of google/umt5-base."""
    return _decoder(c, umt5_encoder(c), _UMT5, scale=_scale(c))


@architecture("LongT5ForConditionalGeneration")
def longt5(c: ConfigReader) -> DecoderSpec:
    """LongT5 with local attention. Source: arXiv:2112.07916; config.json of google/long-t5-local-base."""
    kind = c.choice("encoder_attention_type", allowed=("local", "transient-global"), default="local")
    if kind != "local":
        raise NotBuiltError("encoder_attention_type", kind, expected="local: sums of blocks as keys are not described",
                            source=c.source)
    c.harmless("global_block_size")
    encoder, mask = t5_encoder(c), Bidirectional(radius=c.positive("local_radius", default=127))
    blocks = tuple(replace(block, mixer=replace(self_attention(block), mask=mask)) for block in encoder.blocks)
    return _decoder(c, replace(encoder, blocks=blocks), _LONG, scale=_scale(c))


def _scale(c: ConfigReader) -> float:
    """The factor on the final states: of models whose config does not say that the head has a table of its own."""
    tied = c.bool("tie_word_embeddings", default=True)
    return keys.hidden_size(c) ** -0.5 if c.bool("scale_decoder_outputs", default=tied) else 1.0


def _decoder(c: ConfigReader, encoder: EncoderSpec, names: NameMap, scale: float = 1.0) -> DecoderSpec:
    own = encoder.blocks[0]
    mixer = self_attention(own)
    assert isinstance(mixer.positions, RelativeBias), "T5's encoder has a relative bias"
    positions = replace(mixer.positions, is_causal=True)
    block = BlockSpec(mixer=replace(mixer, mask=Causal(), positions=positions), ffn=own.ffn, mixer_norm=own.mixer_norm,
                      ffn_norm=own.ffn_norm, cross_norm=own.mixer_norm,
                      cross=cross_attention(mixer, encoder.hidden_size))
    return encoder_decoder(
        c, encoder=encoder, embedding=encoder.embedding, final_norm=encoder.final_norm, names=names,
        blocks=[block] * c.positive("num_decoder_layers", default=keys.num_layers(c)),
        head=HeadSpec(tied=c.bool("tie_word_embeddings", default=True), scale=scale))

"""T5Gemma: Gemma 2 as encoder, whose windows are to both sides, and as decoder, with cross attention in each block."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures.encoder_decoders import cross_attention, of_encoder, pair_names, self_attention
from weft.architectures.encoders import Rules
from weft.architectures.gemma import gemma2
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, EncoderSpec
from weft.cache.masks import Bidirectional


def _side(side: str) -> Rules:
    layer, parts = f"model.{side}.layers.{{i}}.", ("q", "k", "v", "o")
    return {
        f"model.{side}.embed_tokens": "embedding.tokens",
        f"{layer}pre_self_attn_layernorm": "blocks.{i}.mixer_norm",
        f"{layer}post_self_attn_layernorm": "blocks.{i}.mixer_post_norm",
        f"{layer}pre_cross_attn_layernorm": "blocks.{i}.cross_norm",
        f"{layer}post_cross_attn_layernorm": "blocks.{i}.cross_post_norm",
        f"{layer}pre_feedforward_layernorm": "blocks.{i}.ffn_norm",
        f"{layer}post_feedforward_layernorm": "blocks.{i}.ffn_post_norm",
        **{f"{layer}self_attn.{name}_proj": f"blocks.{{i}}.mixer.{name}" for name in parts},
        **{f"{layer}cross_attn.{name}_proj": f"blocks.{{i}}.cross.{name}" for name in parts},
        **{f"{layer}mlp.{name}_proj": f"blocks.{{i}}.ffn.{name}" for name in ("gate", "up", "down")},
        f"model.{side}.norm": "final_norm",
    }


_NAMES = pair_names(of_encoder(_side("encoder")), _side("decoder"), {"lm_head.out_proj": "head"})


@architecture("T5GemmaForConditionalGeneration")
def t5gemma(c: ConfigReader) -> DecoderSpec:
    """T5Gemma. Source: arXiv:2504.06225; config.json of google/t5gemma-2b-2b-prefixlm."""
    c.harmless("vocab_size", "dropout_rate", "classifier_dropout_rate")
    source, target = gemma2(c.sub("encoder")), gemma2(c.sub("decoder"))
    for side in ("encoder", "decoder"):
        c.sub(side).harmless("dropout_rate")
    encoder = EncoderSpec(
        hidden_size=source.hidden_size, vocab_size=source.vocab_size, max_position=source.max_position,
        embedding=source.embedding, blocks=tuple(map(_both_sides, source.blocks)), final_norm=source.final_norm,
        names=_NAMES, default_pooling="mean")
    blocks = tuple(replace(
        block, cross=cross_attention(self_attention(block), encoder.hidden_size), cross_norm=block.mixer_norm,
        cross_post_norm=block.mixer_post_norm) for block in target.blocks)
    return replace(target, blocks=blocks, encoder=encoder, names=_NAMES, gguf_names=None,
                   head=replace(target.head, tied=c.bool("tie_word_embeddings", default=True)))


def _both_sides(block: BlockSpec) -> BlockSpec:
    mixer = self_attention(block)
    return replace(block, mixer=replace(mixer, mask=Bidirectional(radius=mixer.window)))

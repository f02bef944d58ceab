"""What models with an encoder and a decoder share: cross attention, tensor names of both sides, and the whole model."""

from __future__ import annotations

from collections.abc import Sequence

from weft.architectures.encoders import Rules
from weft.architectures.names import NameMap, Rule, names
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import (
    AttentionSpec,
    BlockSpec,
    CrossAttentionSpec,
    DecoderSpec,
    EmbeddingSpec,
    EncoderSpec,
    HeadSpec,
    NormSpec,
)


def cross_attention(like: AttentionSpec, encoder_size: int) -> CrossAttentionSpec:
    """Cross attention with the heads, the scale and the biases of a block's self-attention."""
    return CrossAttentionSpec(
        num_heads=like.num_heads, num_kv_heads=like.num_kv_heads, head_dim=like.head_dim, encoder_size=encoder_size,
        scale=like.scale, qkv_bias=like.qkv_bias, k_bias=like.k_bias, out_bias=like.out_bias, softcap=like.softcap)


def self_attention(block: BlockSpec) -> AttentionSpec:
    """The self-attention of a block that has one."""
    assert isinstance(block.mixer, AttentionSpec), "the block's mixer is attention"
    return block.mixer


def of_encoder(rules: Rules) -> Rules:
    """The rules of an encoder alone, for the same encoder beside a decoder."""
    return {source: _prefixed(target) for source, target in rules.items()}


def _prefixed(target: str | tuple[str, ...] | Rule) -> tuple[str, ...] | Rule:
    if isinstance(target, Rule):
        return Rule(target.source, tuple(f"encoder.{home}" for home in target.targets), target.layout)
    return tuple(f"encoder.{home}" for home in ((target,) if isinstance(target, str) else target))


def pair_names(*rules: Rules, optional_prefix: str = "", ignored: tuple[str, ...] = ()) -> NameMap:
    """Names of the tensors of both sides. ignored: stems that are not loaded, such as copies of the shared table."""
    merged = {source: target for each in rules for source, target in each.items()}
    return names(merged, optional_prefix=optional_prefix, ignored=ignored)


def encoder_decoder(c: ConfigReader, *, encoder: EncoderSpec, embedding: EmbeddingSpec, blocks: Sequence[BlockSpec],
                    final_norm: NormSpec | None, head: HeadSpec, names: NameMap, max_position: int | None = None,
                    shares_embedding: bool = True, hidden_size: int | None = None) -> DecoderSpec:
    """The whole model. hidden_size: of the decoder; None: the encoder's.

    max_position: tokens of the longest answer that the model was made for; None: unknown.
    """
    c.expect("is_encoder_decoder", True)
    return DecoderSpec(
        hidden_size=hidden_size or encoder.hidden_size, vocab_size=embedding.vocab_size, max_position=max_position,
        embedding=embedding, blocks=tuple(blocks), final_norm=final_norm, head=head, names=names, encoder=encoder,
        shares_embedding=shares_embedding)

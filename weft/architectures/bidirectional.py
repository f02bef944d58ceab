"""`bidirectional`: a decoder's description as that of an encoder (embedders that were trained from decoders)."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures.attention_spec import AttentionSpec
from weft.architectures.spec import BlockSpec, Causal, DecoderSpec
from weft.cache.masks import Bidirectional
from weft.errors import ConfigError


def bidirectional(spec: DecoderSpec) -> DecoderSpec:
    """The same model with attention to later tokens. ConfigError for a mixer that reads tokens in one direction.

    What a window means then, a family says itself (Gemma 3): such mixers have the mask already.
    """
    return replace(spec, blocks=tuple(_block(block) for block in spec.blocks))


def _block(block: BlockSpec) -> BlockSpec:
    mixer = block.mixer
    if mixer is None:
        return block
    if isinstance(mixer, AttentionSpec) and isinstance(mixer.mask, Bidirectional):
        return block
    if not isinstance(mixer, AttentionSpec) or not isinstance(mixer.mask, Causal):
        raise ConfigError("is_causal", False, expected="true for this family",
                          hint=f"A part ({mixer.describe(sizes=False)}) has no form that sees later tokens.")
    return replace(block, mixer=replace(mixer, mask=Bidirectional()))

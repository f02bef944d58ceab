"""Describes parts of a `ModelSpec` in a few words, for the tables of `weft models` and `weft inspect`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Protocol

from weft.architectures.spec import BlockSpec, EncoderSpec, MixerSpec, ModelSpec


class Describes(Protocol):
    """A part that describes itself. sizes: whether the words include numbers."""

    def describe(self, *, sizes: bool = True) -> str: ...


def patterns(blocks: Sequence[BlockSpec]) -> list[tuple[str, BlockSpec]]:
    """[(layers, block)] for each distinct block; layers are words as from `layer_words`."""
    layers: dict[int, list[int]] = {}
    kinds: list[BlockSpec] = []
    for i, block in enumerate(blocks):
        if block not in kinds:
            kinds.append(block)
        layers.setdefault(kinds.index(block), []).append(i)
    return [(layer_words(layers[k]), kind) for k, kind in enumerate(kinds)]


def layer_words(layers: Sequence[int]) -> str:
    """Layer numbers in short form: `0-4 6-10` for runs, `0 2 … 24` for a regular step."""
    steps = {b - a for a, b in itertools.pairwise(layers)}
    if len(layers) > 3 and len(steps) == 1 and steps != {1}:
        return f"{layers[0]} {layers[1]} … {layers[-1]}"
    words, start = [], 0
    for i in range(1, len(layers) + 1):
        if i == len(layers) or layers[i] != layers[i - 1] + 1:
            words.append(f"{layers[start]}" if i - start == 1 else f"{layers[start]}-{layers[i - 1]}")
            start = i
    return " ".join(words)


def describe(part: Describes | None, absent: str = "-", *, sizes: bool = True) -> str:
    """A part's own words, or `absent` where there is no part."""
    return absent if part is None else part.describe(sizes=sizes)


def mixer_positions(mixer: MixerSpec | None, *, sizes: bool = True) -> str:
    """The positions of one mixer, e.g. `rope, base 10000, 64 dims` or `none`."""
    return describe(getattr(mixer, "positions", None), "none", sizes=sizes)


def positions(spec: ModelSpec) -> str:
    """The kinds of positions in the model, e.g. `learned` or `rope, none`."""
    kinds = _distinct(mixer_positions(block.mixer, sizes=False) for block in spec.blocks if block.mixer is not None)
    if spec.embedding.positions is not None:
        own = type(spec.embedding.positions).__name__.removesuffix("Positions").lower()
        kinds = [own, *(kind for kind in kinds if kind != "none")]
    return ", ".join(kinds)


def norm_places(block: BlockSpec) -> str:
    """The kinds of norms in a block and their places, e.g. `RMSNorm before and after`."""
    kinds = _distinct(type(part).__name__ for part in (
        block.mixer_norm, block.ffn_norm, block.mixer_post_norm, block.ffn_post_norm) if part is not None)
    before = block.mixer_norm is not None and not block.post_residual
    after = block.mixer_post_norm is not None or block.post_residual
    place = "before and after" if before and after else "after" if after else "before"
    return f"{' and '.join(kinds)} {place}" if kinds else "none"


def block_norms(block: BlockSpec) -> str:
    """The norms of one block with their settings and places."""
    places = (("mixer", block.mixer_norm), ("after it", block.mixer_post_norm), ("cross attention", block.cross_norm),
              ("after it", block.cross_post_norm),
              ("ffn", block.ffn_norm),
              ("after it", block.ffn_post_norm))
    kinds = _distinct(part.describe() for _, part in places if part is not None)
    if len(kinds) == 1:
        return f"{kinds[0]}; {norm_places(block).partition(' ')[2]}" + (
            ", shared" if block.ffn is not None and block.ffn_norm is None else "")
    return "; ".join(f"{place} {part.describe()}" for place, part in places if part is not None) or "-"


def extras(spec: ModelSpec) -> list[str]:
    """Words for all other differences of the whole model from the plainest decoder."""
    words = []
    if any(block.parallel for block in spec.blocks):
        words.append("parallel blocks")
    if any(block.residual_scale != 1.0 for block in spec.blocks):
        words.append("scaled residuals")
    if spec.embedding.scale != 1.0:
        words.append("scaled embeddings")
    if spec.embedding.norm is not None:
        words.append("embedding norm")
    if spec.embedding.embedding_dim is not None:
        words.append(f"embeddings of {spec.embedding.embedding_dim}")
    if spec.embedding.token_types:
        words.append("token types")
    if isinstance(spec, EncoderSpec):
        return [*words, "encoder"]
    if spec.encoder is not None:
        words.append("cross attention over an encoder")
    if spec.head.scale != 1.0:
        words.append("scaled logits")
    if spec.head.softcap is not None:
        words.append(f"logits soft cap {spec.head.softcap:g}")
    if spec.head.bias:
        words.append("head bias")
    if spec.head.tied:
        words.append("tied head")
    return words


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))

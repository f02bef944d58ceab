"""`ModelWords`: a model in words, for `weft inspect` and for the page that draws it. Plain data that messages carry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerWords:
    """One kind of layer in words. layers: `numbers`, the layers of this kind, in short form.

    parameters, cache_bytes_per_token: of one layer.
    state_bytes: of a sequence's state in one layer, which does not grow with its tokens.
    """

    layers: str
    numbers: tuple[int, ...]
    attention: str
    positions: str
    ffn: str
    norms: str
    parameters: int
    cache_bytes_per_token: int
    state_bytes: int


@dataclass(frozen=True, slots=True)
class ModelWords:
    """A model in words. title: number and width of layers; head: where its matrix comes from."""

    title: str
    head: str
    layers: tuple[LayerWords, ...]

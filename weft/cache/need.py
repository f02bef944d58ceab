"""`CacheNeed`: what one layer stores from step to step, as the layer itself states it. `cache_groups` joins equal needs.

Plain values: they know no tensor, no pool and no sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.cache.groups import CacheGroup
from weft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Causal:
    """The query at position p sees the keys 0 to p."""


@dataclass(frozen=True, slots=True)
class Bidirectional:
    """Every query sees all keys of its sequence."""


@dataclass(frozen=True, slots=True)
class Chunked:
    """The query at position p sees the keys from `size` * (p // `size`) to p (Llama 4's local attention)."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError("attention_chunk_size", self.size, expected="at least 1 token")


Mask = Causal | Bidirectional | Chunked


@dataclass(frozen=True, slots=True)
class TokensNeed:
    """Keys and values of every token.

    bytes_per_token: of this layer. window: tokens a query sees, itself included; None: all that the mask allows.
    source: index of the layer whose keys and values this layer reads instead of its own (KV sharing); then this layer
    stores nothing, and `bytes_per_token` is 0.
    """

    bytes_per_token: int
    window: int | None = None
    mask: Mask = Causal()
    source: int | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise ConfigError("sliding_window", self.window, expected="at least 1 token, or null for no window")
        if self.source is not None and self.bytes_per_token:
            raise ConfigError("bytes_per_token", self.bytes_per_token,
                              expected=f"0, because layer {self.source} stores the keys and values")


@dataclass(frozen=True, slots=True)
class StateNeed:
    """One state of fixed size for each sequence. bytes_per_state: of this layer, all its parts together."""

    bytes_per_state: int


@dataclass(frozen=True, slots=True)
class EncoderNeed:
    """Keys and values of the encoder's tokens, written once and read by every step. bytes_per_token: of this layer."""

    bytes_per_token: int


CacheNeed = TokensNeed | StateNeed | EncoderNeed


def cache_groups(needs: Sequence[TokensNeed | None]) -> tuple[CacheGroup, ...]:
    """Layers that see the same tokens share a group; groups in the order of their first layers.

    needs: of each layer; None for a layer that stores nothing. ConfigError where a layer reads the cache of a layer
    that sees other tokens.
    """
    members: dict[tuple[int | None, Mask], dict[int, int]] = {}            # layers that see the same: their bytes
    for layer, need in enumerate(needs):
        if need is not None:
            _check_source(layer, need, needs)
            members.setdefault((need.window, need.mask), {})[layer] = need.bytes_per_token
    return tuple(CacheGroup(window, tuple(layers), sum(layers.values())) for (window, _), layers in members.items())


def _check_source(layer: int, need: TokensNeed, needs: Sequence[TokensNeed | None]) -> None:
    if need.source is None:
        return
    source = needs[need.source] if 0 <= need.source < layer else None
    if source is None or source.source is not None or (source.window, source.mask) != (need.window, need.mask):
        raise ConfigError(f"layers[{layer}].source", need.source,
                          expected=f"an earlier layer that stores its keys and values and has window {need.window} "
                          f"and mask {need.mask}")

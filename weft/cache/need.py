"""`CacheNeed`: what one layer keeps in the cache between steps. Layers with equal needs form a cache group.

Needs are plain values stated by the layers; they know no tensor, no pool and no sequence.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from weft.cache.groups import CacheGroup, EncoderGroup, FullGroup, StateGroup, WindowGroup
from weft.cache.masks import CAUSAL, Mask
from weft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TokensNeed:
    """Keys and values of every token.

    bytes_per_token: bytes that this layer stores for each token.
    window: tokens that a query sees, its own included; None: all that the mask allows.
    source: index of the layer whose keys and values this layer reads (cross-layer KV sharing); such a layer stores
        nothing, and its `bytes_per_token` is 0. None: the layer stores its own.
    """

    bytes_per_token: int
    window: int | None = None
    mask: Mask = CAUSAL
    source: int | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise ConfigError("sliding_window", self.window, expected="at least 1 token, or null for no window")
        if self.source is not None and self.bytes_per_token:
            raise ConfigError("bytes_per_token", self.bytes_per_token,
                              expected=f"0, because layer {self.source} stores the keys and values")


@dataclass(frozen=True, slots=True)
class StateNeed:
    """One recurrent state of fixed size for each sequence.

    bytes_per_state: bytes of this layer's state, all its tensors together.
    """

    bytes_per_state: int


@dataclass(frozen=True, slots=True)
class EncoderNeed:
    """Keys and values of the encoder's tokens (cross attention): written once, read in every step.

    bytes_per_token: bytes that this layer stores for each encoder token.
    """

    bytes_per_token: int


CacheNeed = TokensNeed | StateNeed | EncoderNeed


def cache_groups(needs: Sequence[CacheNeed | None], *, block_size: int, state_interval: int) -> tuple[CacheGroup, ...]:
    """The cache groups of a model: layers of one kind share a group. Groups are in the order of their first layers.

    Args:
        needs: the need of each layer; None for a layer that stores nothing.
        block_size: tokens in a block of keys and values.
        state_interval: tokens from one snapshot of the states to the next, a multiple of `block_size`.

    ConfigError if a layer's `source` is no earlier storing layer with the same window and mask.
    """
    members: dict[Hashable, dict[int, CacheNeed]] = {}            # kind -> {layer: need}
    for layer, need in enumerate(needs):
        if need is not None:
            _check_source(layer, need, needs)
            members.setdefault(_kind(need), {})[layer] = need
    return tuple(_group(layers, block_size, state_interval) for layers in members.values())


def _kind(need: CacheNeed) -> Hashable:
    return (need.window, need.mask) if isinstance(need, TokensNeed) else type(need)


def _group(needs: dict[int, CacheNeed], block_size: int, state_interval: int) -> CacheGroup:
    layers, num_bytes = tuple(needs), sum(map(_num_bytes, needs.values()))
    match next(iter(needs.values())):
        case StateNeed():
            return StateGroup(layers, num_bytes, state_interval)
        case EncoderNeed():
            return EncoderGroup(layers, num_bytes, block_size)
        case TokensNeed(window=window, mask=mask):
            if window is None:
                return FullGroup(layers, num_bytes, block_size, mask)
            return WindowGroup(window, layers, num_bytes, block_size, mask)


def _num_bytes(need: CacheNeed) -> int:
    return need.bytes_per_state if isinstance(need, StateNeed) else need.bytes_per_token


def _check_source(layer: int, need: CacheNeed, needs: Sequence[CacheNeed | None]) -> None:
    if not isinstance(need, TokensNeed) or need.source is None:
        return
    source = needs[need.source] if 0 <= need.source < layer else None
    if not isinstance(source, TokensNeed) or source.source is not None or _kind(source) != _kind(need):
        raise ConfigError(f"layers[{layer}].source", need.source,
                          expected=f"an earlier layer that stores its keys and values and has window {need.window} "
                          f"and mask {need.mask}")

"""The cache's memory: each layer's tensors for the blocks of its group. `engine/runner.py` binds them once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from weft.cache.groups import CacheGroup
from weft.cache.need import TokensNeed
from weft.config.allocator import lazy_zeros
from weft.models.engine_model import CacheLayer


def bind_caches(layers: Sequence[CacheLayer], groups: Sequence[CacheGroup], num_blocks: Sequence[int]) -> None:
    """Gives every layer its cache tensors. A layer with a `source` gets the source layer's tensors.

    num_blocks: blocks of each group.
    """
    bound: dict[int, tuple[Tensor, ...]] = {}
    for number, (group, num) in enumerate(zip(groups, num_blocks, strict=True)):
        for index in group.layers:
            layer = layers[index]
            source = layer.need.source if isinstance(layer.need, TokensNeed) else None
            bound[index] = _tensors(layer, num) if source is None else bound[source]
            layer.bind_cache(bound[index], number)


def _tensors(layer: CacheLayer, num_blocks: int) -> tuple[Tensor, ...]:
    return tuple(map(_zeros, layer.cache_shapes(num_blocks), layer.cache_dtypes))


def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros whose pages take no memory until they are written, so an empty cache costs nothing."""
    count = math.prod(shape)
    if not count:                                              # torch makes no tensor of an empty buffer
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(lazy_zeros(count * dtype.itemsize), dtype=dtype, count=count).view(shape)

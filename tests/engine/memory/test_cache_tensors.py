"""Layers get the memory of their group; one that reads another's keys and values gets that one's."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from weft.cache.need import CacheNeed, TokensNeed, cache_groups
from weft.engine.memory.cache_tensors import bind_caches


@dataclass
class Layer:
    need: CacheNeed
    cache_dtypes: tuple[torch.dtype, ...] = (torch.float16, torch.float32)
    tensors: tuple[torch.Tensor, ...] = field(default=())
    group: int = -1

    def cache_shapes(self, num_blocks):
        return (num_blocks, 3), (num_blocks, 2, 5)

    def bind_cache(self, tensors, group):
        self.tensors, self.group = tensors, group


def bind(*needs: CacheNeed, num_blocks: tuple[int, ...]) -> list[Layer]:
    layers = [Layer(need) for need in needs]
    bind_caches(layers, cache_groups(needs, block_size=4, state_interval=4), num_blocks)
    return layers


def test_each_layer_has_zeros_for_the_blocks_of_its_group():
    full, window = bind(TokensNeed(8), TokensNeed(8, window=6), num_blocks=(7, 2))

    assert [layer.group for layer in (full, window)] == [0, 1]
    assert [tuple(tensor.shape) for tensor in full.tensors] == [(7, 3), (7, 2, 5)]
    assert [tuple(tensor.shape) for tensor in window.tensors] == [(2, 3), (2, 2, 5)]
    assert [tensor.dtype for tensor in full.tensors] == [torch.float16, torch.float32]
    assert not any(tensor.any() for tensor in full.tensors)


def test_layers_share_memory_only_where_one_reads_the_keys_and_values_of_the_other():
    own, other, reader = bind(TokensNeed(8), TokensNeed(8), TokensNeed(0, source=0), num_blocks=(7,))

    addresses = [[tensor.data_ptr() for tensor in layer.tensors] for layer in (own, other, reader)]
    assert addresses[2] == addresses[0]
    assert not set(addresses[0]) & set(addresses[1])

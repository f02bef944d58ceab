"""`StateLayer`: a mixer that carries states of fixed size along each sequence, in memory that is bound to it once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weft.architectures.spec import StateSpec
from weft.cache.need import StateNeed
from weft.layers.context import LayerContext
from weft.layers.layer import Layer


class StateLayer(Layer):
    """What these layers store: the last rows before the convolution, and the state of the scan.

    conv_shape: [K - 1, C] of the first, in the model's dtype. state_shape: of the second, float32; (0,): there is none.
    need: the bytes of both together. group: number of its cache group, given when caches are bound.
    """

    rope = None                                                 # its tokens know their places by their order

    def __init__(self, spec: StateSpec, *, context: LayerContext) -> None:
        super().__init__()
        self.conv_shape, self.state_shape = (spec.conv_size - 1, spec.conv_channels), spec.state_shape
        self.dtype = context.dtype
        self.need = StateNeed(math.prod(self.conv_shape) * context.dtype.itemsize + 4 * math.prod(self.state_shape))
        self.group = 0
        self.conv_states = self.scan_states = torch.empty(0)

    def cache_shapes(self, num_states: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the tensors that `bind_cache` takes, for num_states states."""
        return (num_states, *self.conv_shape), (num_states, *self.state_shape)

    @property
    def cache_dtypes(self) -> tuple[torch.dtype, ...]:
        """Dtypes of the tensors that `bind_cache` takes."""
        return self.dtype, torch.float32

    def bytes_per_cached_token(self) -> float:
        """As PagedAttention: a step reads no cached tokens here."""
        return 0

    def bind_cache(self, tensors: tuple[Tensor, ...], group: int) -> None:
        """Take the states, of `cache_shapes` and `cache_dtypes` and any content, and the number of the cache group."""
        self.conv_states, self.scan_states = tensors
        self.group = group

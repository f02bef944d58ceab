"""`LayerContext`: the facts by which every layer of a model chooses its kernels and its memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from weft.layers.scratch import Scratch
from weft.layers.shard import Shard, Span
from weft.ops.native import unavailable
from weft.ops.nodes import MemoryNodes
from weft.ops.quantized import weight_only


@dataclass(frozen=True, slots=True)
class CacheFormat:
    """How keys and values are cached. dtype: one of KV_CACHE_DTYPES; block_size: tokens in a block."""

    dtype: str
    block_size: int = 16


@dataclass(frozen=True, slots=True)
class LayerContext:
    """dtype and device of a layer's parameters, which decide its kernels.

    isa: level of the native kernels, "reference" for none. quantization: how loaded weights are quantized, or None.
    activation_dtype: "int8" where quantized weights are multiplied by activations of 8 bits, else None.
    cache: how an attention layer caches; None: floats of `dtype` in blocks of 16. nodes: among which native kernels'
    weights are divided; None: one. scratch: buffers that the layers of a model share. shard: which part of the model is
    built; None: all of it. Layers of a shard give their partial sums; quantizing at load, and coding activations, take
    the largest value of the shard's columns.
    """

    dtype: torch.dtype
    device: str = "cpu"
    isa: str = "reference"
    quantization: str | None = None
    activation_dtype: str | None = None
    cache: CacheFormat | None = None
    nodes: MemoryNodes | None = field(default=None, compare=False)
    scratch: Scratch = field(default_factory=Scratch, compare=False)
    shard: Shard | None = None

    @property
    def is_native(self) -> bool:
        """True when there are native kernels for this device and level."""
        return unavailable(self.device, self.isa) is None

    def divided(self, name: str, size: int) -> Span:
        """This shard's equal part of `size` heads, columns, ... name: names the size in errors."""
        return Span.of(size) if self.shard is None else self.shard.span(name, size)

    def shared(self, name: str, size: int) -> Span:
        """As `divided`; where there are fewer entries than shards, several shards build the same entry."""
        return Span.of(size) if self.shard is None else self.shard.shared(name, size)

    def vocabulary(self, size: int) -> Span:
        """This shard's rows of embedding and head. Parts differ by one row at most, and none is padded."""
        return Span.of(size) if self.shard is None else self.shard.nearly_equal("vocab_size", size)

    def exact(self) -> LayerContext:
        """For small matrices that decide: nothing of them is quantized."""
        return replace(self, quantization=None, activation_dtype=None)

    def weight_only(self) -> LayerContext:
        """For matrices whose products take floats, however the layers' are quantized."""
        return replace(self, quantization=weight_only(self.quantization))

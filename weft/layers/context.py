"""`LayerContext`: the facts by which every layer of a model chooses its kernels and its memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from weft.layers.scratch import Scratch
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
    cache: how an attention layer caches; None: floats of `dtype` in blocks of 16. nodes: among which native kernels'
    weights are divided; None: one. scratch: buffers that the layers of a model share.
    """

    dtype: torch.dtype
    device: str = "cpu"
    isa: str = "reference"
    quantization: str | None = None
    cache: CacheFormat | None = None
    nodes: MemoryNodes | None = field(default=None, compare=False)
    scratch: Scratch = field(default_factory=Scratch, compare=False)

    @property
    def is_native(self) -> bool:
        """True when there are native kernels for this device and level."""
        return unavailable(self.device, self.isa) is None

    def weight_only(self) -> LayerContext:
        """For matrices whose products take floats, however the layers' are quantized."""
        return replace(self, quantization=weight_only(self.quantization))

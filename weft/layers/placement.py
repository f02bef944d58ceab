"""Where a layer's parameters live, and the base that all layers share: homes for a checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from weft.layers.scratch import Scratch
from weft.ops.kernel import Choice
from weft.ops.nodes import MemoryNodes
from weft.ops.quantized import QuantizedWeight, weight_only


@dataclass(frozen=True, slots=True)
class CacheFormat:
    """How keys and values are cached. dtype: one of KV_CACHE_DTYPES; block_size: tokens in a block."""

    dtype: str
    block_size: int = 16


@dataclass(frozen=True, slots=True)
class Placement:
    """dtype and device of a layer's parameters, which decide its kernels.

    has_memory False: the parameters are torch's "meta" tensors, for a model that is only looked at or a shared table.
    isa: level of the native kernels, "reference" for none. quantization: how loaded weights are quantized, or None.
    cache: how an attention layer caches; None: floats of `dtype` in blocks of 16. nodes: among which native kernels'
    weights are divided; None: one. scratch: buffers that the layers of a model share.
    """

    dtype: torch.dtype
    device: str = "cpu"
    has_memory: bool = True
    isa: str = "reference"
    quantization: str | None = None
    cache: CacheFormat | None = None
    nodes: MemoryNodes | None = field(default=None, compare=False)
    scratch: Scratch = field(default_factory=Scratch, compare=False)

    def weight_only(self) -> Placement:
        """For matrices whose products take floats, however the layers' are quantized."""
        return replace(self, quantization=weight_only(self.quantization))


class Layer(nn.Module):
    """A part as a module.

    `homes()` gives views of its parameters under part names, which loading copies into; `finish_loading()` is called
    once after that, on every layer (see finishing.py); `choices()` are the kernels it runs.
    takes_codes: its matrices may come as QuantizedWeights, through `take`. takes_integers: those with int8_activations
    may, which every kernel multiplies alike.
    """

    takes_codes = False
    takes_integers = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        """A layer is called without torch's hooks, which cost as much as a small kernel, unless it has a `__call__`."""
        super().__init_subclass__(**kwargs)
        if "forward" in vars(cls) and "__call__" not in vars(cls):
            cls.__call__ = cls.forward

    def bind_children(self) -> None:
        """Make the children plain attributes, which are found at once; torch's own way to them is slow."""
        vars(self).update(self._modules)

    def parameter(self, *shape: int, place: Placement) -> nn.Parameter:
        """An uninitialised parameter that needs no gradient."""
        device = place.device if place.has_memory else "meta"
        return nn.Parameter(torch.empty(shape, dtype=place.dtype, device=device), requires_grad=False)

    def homes(self) -> dict[str, Tensor]:
        """{part name: view}. By default those of the children that are layers, under their attribute names."""
        return {f"{name}.{home}": view for name, child in self.named_children() if isinstance(child, Layer)
                for home, view in child.homes().items()}

    def loaded_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters whose numbers `finish_loading` needs: by default this layer's own."""
        return self.parameters(recurse=False)

    def take(self, parameter: nn.Parameter, first: int, weight: QuantizedWeight) -> None:
        """A part of a parameter as codes. first: place of its home's first number in the parameter's memory."""
        raise AssertionError(f"{type(self).__name__} takes no codes")

    def finish_loading(self) -> None:
        """Turn this layer's own loaded parameters into what its kernel wants; layers within it do theirs."""

    def choices(self) -> Iterator[Choice]:
        """The kernels chosen in this layer and those below."""
        for module in self.modules():
            yield from (value for value in vars(module).values() if isinstance(value, Choice))

"""`Layer`: the base of all parts as modules: homes for a checkpoint's tensors, and the kernels that a part runs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from weft.layers.context import LayerContext
from weft.ops.kernel import Choice
from weft.ops.quantized import QuantizedWeight


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

    def parameter(self, *shape: int, context: LayerContext) -> nn.Parameter:
        """An uninitialised parameter that needs no gradient."""
        device = context.device if context.has_memory else "meta"
        return nn.Parameter(torch.empty(shape, dtype=context.dtype, device=device), requires_grad=False)

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

"""`PublicLayer`: the base of the layers that foreign models hold, and the one way from a layer to the step it is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.layers.context import LayerContext
from weft.layers.layer import Home, Layer
from weft.ops.step import Step

Part = str | int | None


@dataclass(slots=True)
class StepRef:
    """The step that a model is in. Its owner sets it around each forward pass; every bound layer shares it.

    memo: what layers computed for this step and others may use again; empty at each step's begin.
    """

    step: Step | None = None
    memo: dict[Any, Any] = field(default_factory=dict)

    def begin(self, step: Step | None) -> None:
        """From now on this is the step; None: there is none."""
        self.step = step
        self.memo.clear()

    def current(self, layer: nn.Module) -> Step:
        """The step. RuntimeError outside a forward pass of the engine."""
        if self.step is None:
            raise RuntimeError(f"{type(layer).__name__} was called outside a step: only the engine can run the model, "
                               "because keys and values go to its cache. Call LLM.generate.")
        return self.step


class PublicLayer(Layer):
    """A layer that is made by sizes, then bound to a context. Its parameters lie on "meta" until the engine allocates.

    Every parameter has a `weight_loader(parameter, tensor, part=None)`, which copies a checkpoint's tensor into it.
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Foreign code may hook these layers and replace their `forward`, so they are called as torch calls modules."""
        super().__init_subclass__(**kwargs)
        cls.__call__ = nn.Module.__call__

    def __init__(self) -> None:
        super().__init__()
        self.context: LayerContext | None = None
        self.filled: set[str] = set()                         # parts that have their numbers
        self.on_full: Callable[[PublicLayer], None] | None = None
        self.params_dtype = torch.get_default_dtype()

    def bind_children(self) -> None:
        """Nothing: foreign code may still replace children."""

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """Choose kernels. Called once, before memory is allocated."""
        self.context = context

    def new_parameter(self, *shape: int) -> nn.Parameter:
        """A parameter on "meta" that knows its loader."""
        return self.loadable(torch.empty(shape, dtype=self.params_dtype, device="meta"))

    def loadable(self, tensor: Tensor) -> nn.Parameter:
        """The tensor as a parameter that knows its loader."""
        parameter = nn.Parameter(tensor, requires_grad=False)
        parameter.weight_loader = self.load_part
        return parameter

    def allocate(self, device: str) -> None:
        """As Layer. A parameter that two layers share stays shared."""
        for name, parameter in self._parameters.items():
            if parameter is not None and parameter.is_meta:
                setattr(self, name, self.loadable(torch.empty_like(parameter, device=device)))

    def load_part(self, parameter: nn.Parameter, tensor: Tensor, part: Part = None) -> None:
        """Copy a checkpoint's tensor into a parameter of this layer. part: which rows, where several parts share it."""
        name = next(name for name, mine in self._parameters.items() if mine is parameter)
        self.fill(name, tensor)

    def fill(self, part: str, tensor: Tensor) -> None:
        """Copy a tensor to a home. CheckpointError when it does not fit (Home.fill)."""
        homes = self.own_homes()
        homes[part].fill(tensor)
        self.filled.add(part)
        if self.on_full is not None and self.filled >= homes.keys():
            self.on_full(self)

    def held_bytes(self, codes: Mapping[str, Any]) -> int:
        """As Layer."""
        return sum(p.numel() * p.element_size() for p in self._parameters.values() if p is not None)

    def bound(self) -> LayerContext:
        """The context. RuntimeError before the engine has bound the layer."""
        if self.context is None:
            raise RuntimeError(f"{type(self).__name__} is not bound to an engine: only the engine runs the model.")
        return self.context


def check_input(layer: nn.Module, name: str, x: Tensor, width: int, context: LayerContext) -> None:
    """ValueError unless x ends in `width` columns of the model's dtype on its device."""
    if not isinstance(x, Tensor) or x.dim() < 1 or x.shape[-1] != width:
        shape = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{type(layer).__name__}: {name} is {shape}, expected [..., {width}]")
    if x.dtype != context.dtype or x.device.type != context.device:
        raise ValueError(f"{type(layer).__name__}: {name} is {x.dtype} on {x.device}, expected {context.dtype} on "
                         f"{context.device}, the model's")


def unsupported(layer: str, **options: Any) -> None:
    """ConfigError for an option that was set and has no code here."""
    for name, value in options.items():
        if value not in (None, False):
            raise ConfigError(f"{layer}.{name}", value, expected="not to be set",
                              hint="weft has no code for this option of the layer.")


def own_views(layer: Layer, views: Mapping[str, Tensor]) -> dict[str, Home]:
    """Homes of a layer from views."""
    return {part: Home(view, layer, part) for part, view in views.items()}

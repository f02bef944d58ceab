"""`PublicLayer`: the base of the layers that foreign models hold, and the one way from a layer to the step it is in."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from weft.errors import CheckpointError, ConfigError
from weft.layers.context import LayerContext
from weft.layers.layer import Home, Layer
from weft.layers.public.loaded_weight import LoadedWeight, put_into
from weft.layers.public.quant_config import check_quant_config
from weft.layers.public.stored_tensor import StoredTensor
from weft.ops.step import Step

Part = str | int | tuple[int, ...] | None
_SHARD = "stacked_shard_id"      # the attribute of a tensor that is a part of a fused parameter


@dataclass(slots=True)
class StepRef:
    """The step that a model is in. Its owner sets it around each forward pass; every bound layer shares it.

    memo: what layers computed for this step and others may use again; empty at each step's begin.
    has_encoder: the model has an encoder beside its decoder (`Step.encoder_ids`).
    """

    step: Step | None = None
    has_encoder: bool = False
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
    """A layer that is made by sizes, then bound to a context, loaded and finished.

    Parameters lie on "meta" until the engine allocates. Each is one object for good: what holds it (a dictionary of
    named_parameters, a layer that ties its weight) sees it get memory, numbers, and become a LoadedWeight. Each has a
    `weight_loader(parameter, tensor, part=None)`, which copies a checkpoint's tensor into it.
    """

    __call__ = nn.Module.__call__      # foreign code may hook these layers and replace their `forward`
    may_finish_early = False           # True where weights can go to the kernel as soon as all are loaded
    is_loaded = False                  # True once the kernels have the numbers; then no parameter can be changed

    def __init_subclass__(cls, **kwargs: object) -> None:
        """As nn.Module: without the short way of Layer, which leaves out hooks."""
        super(Layer, cls).__init_subclass__(**kwargs)

    def __init__(self, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.is_quantized = check_quant_config(type(self).__name__, quant_config)
        self.quant_config, self.prefix = quant_config, prefix
        self.context: LayerContext | None = None
        self.filled: set[str] = set()                         # homes that have their numbers
        self._num_homes = 0                                   # of all parameters, once it was counted
        self.on_full: Callable[[PublicLayer], None] | None = None
        self.params_dtype = torch.get_default_dtype()

    def bind_children(self) -> None:
        """Nothing: foreign code may still replace children."""

    # Parameters, from the constructor to the kernel.

    def new_parameter(self, *shape: int) -> nn.Parameter:
        """A parameter on "meta" that knows its loader."""
        parameter = nn.Parameter(torch.empty(shape, dtype=self.params_dtype, device="meta"), requires_grad=False)
        self._give_loader(parameter)
        return parameter

    def _give_loader(self, parameter: nn.Parameter) -> None:
        """Set the `weight_loader` that a model's load_weights calls; torch's own parameters have no such attribute."""
        vars(parameter)["weight_loader"] = self.load_part

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """{name: parameter} of those that this layer loads.

        A parameter that another layer holds for it is not among them, nor is one that a subclass or a constructor put
        here: such a parameter has no `weight_loader` and keeps what it was made of.
        """
        return {name: parameter for name, parameter in self._parameters.items()
                if parameter is not None and hasattr(parameter, "weight_loader")}

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """Choose kernels. Called once, before memory is allocated. ConfigError for a dtype that is not the model's."""
        for name, parameter in self.own_parameters().items():
            if parameter.dtype != context.dtype:
                raise ConfigError(f"{type(self).__name__}.{name}", parameter.dtype,
                                  expected=f"{context.dtype}, the model's dtype",
                                  hint="weft computes all layers of a model in one dtype.")
        self.context = context if self.is_quantized else context.exact()

    def allocate(self, device: str) -> None:
        """As Layer. A parameter that already has memory, as one that layers share, keeps it."""
        for name, parameter in self.own_parameters().items():
            if parameter.is_meta:
                put_into(parameter, self.empty(name, parameter, device))
                self._give_loader(parameter)

    def empty(self, name: str, parameter: nn.Parameter, device: str) -> Tensor:
        """Memory to load a parameter into."""
        return torch.empty(parameter.shape, dtype=parameter.dtype, device=device)

    def homes_of(self, name: str, parameter: nn.Parameter) -> dict[str, Home]:
        """{part name: home} of one parameter: all of it under its name, unless parts are loaded apart."""
        return {name: Home(parameter.data, self, name)}

    def own_homes(self) -> dict[str, Home]:
        """As Layer: of the parameters that this layer loads."""
        return {part: home for name, parameter in self.own_parameters().items()
                for part, home in self.homes_of(name, parameter).items()}

    def load_part(self, parameter: nn.Parameter, tensor: Tensor, part: Part = None) -> None:
        """Copy a checkpoint's tensor into a parameter of this layer. part: only layers with parts take one."""
        name, part = self.name_of(parameter), shard_of(tensor) if part is None else part
        if part is not None:
            raise ConfigError(f"{type(self).__name__}.{name} shard", part, expected="none: the weight has no parts")
        self.fill(name, tensor)

    def name_of(self, parameter: nn.Parameter) -> str:
        """The name of one of this layer's own parameters."""
        return next(name for name, mine in self._parameters.items() if mine is parameter)

    def fill(self, home: str, tensor: Tensor) -> None:
        """Copy a tensor to a home. CheckpointError as Home.fill, and when the kernel has the numbers already."""
        if self.is_loaded:
            raise CheckpointError(f"{type(self).__name__}.{home}: loaded again after its kernel took the numbers; the "
                                  "checkpoint has this weight twice, or load_weights gives it twice.")
        place = self.home(home)
        if not self._took_codes(home, place, tensor):
            place.fill(tensor.numbers() if isinstance(tensor, StoredTensor) else tensor)
        self.filled.add(home)
        if self.on_full is not None:
            self._num_homes = self._num_homes or len(self.own_homes())
            if len(self.filled) == self._num_homes:
                self.on_full(self)

    def home(self, part: str) -> Home:
        """The home with a part name."""
        return self.own_homes()[part]

    def _took_codes(self, part: str, home: Home, tensor: Tensor) -> bool:
        """Take a matrix as codes, where the tensor has some and the kernel computes with them. False: as floats."""
        if not isinstance(tensor, StoredTensor) or not tensor.has_codes or len(home.whole_shape) < 2:
            return False
        if not self.takes_codes and not (self.takes_integers and tensor.has_int8_activations):
            return False
        home.check(tensor)
        codes = tensor.codes()
        if codes is None:
            return False
        self.take(part, home.cut_codes(codes))
        return True

    def missing(self) -> list[str]:
        """Names of the parameters that loading has not filled, or not with all parts."""
        if self.is_loaded:
            return []
        return [name for name, parameter in self.own_parameters().items()
                if not self.filled.issuperset(self.homes_of(name, parameter))]

    def finish_loading(self) -> None:
        """As Layer. Layers with numbers give them to their kernels first, and `keep` each parameter."""
        self.is_loaded = True

    def keep(self, name: str, read: Callable[[], Tensor]) -> None:
        """From now on a parameter only reads what the kernel has. read(): the numbers; whether a copy or not."""
        parameter = self._parameters[name]
        assert parameter is not None, f"{name} is a parameter that this layer does not have"
        LoadedWeight.become(parameter, f"{type(self).__name__}.{name}", read)
        self._give_loader(parameter)

    def bound(self) -> LayerContext:
        """The context. RuntimeError before the engine has bound the layer."""
        if self.context is None:
            raise RuntimeError(f"{type(self).__name__} is not bound to an engine: only the engine runs the model.")
        return self.context

    def ready(self) -> LayerContext:
        """The context. RuntimeError before the engine has bound the layer and loaded its numbers."""
        context = self.bound()
        if not self.is_loaded:
            raise RuntimeError(f"{type(self).__name__} was called before its weights were loaded.")
        return context

    # What torch lets anybody do with a module.

    def __setattr__(self, name: str, value: Any) -> None:
        """As nn.Module. RuntimeError for another parameter in place of one that the kernel has."""
        if self.is_loaded and name in self._parameters:
            raise RuntimeError(f"{type(self).__name__}.{name} cannot be replaced: its kernel has the numbers. Change "
                               "the checkpoint, or the tensors that load_weights gives to weight_loader.")
        super().__setattr__(name, value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PublicLayer:
        """What `to`, `half` and `cuda` call: nothing to do, or a ConfigError for another dtype or device."""
        own = self.own_parameters()
        if not own:
            return super()._apply(fn, recurse)
        for child in self.children() if recurse else ():
            child._apply(fn)
        for name, parameter in own.items():
            here = torch.empty(0, dtype=parameter.dtype)
            there = fn(here)
            if (there.dtype, there.device) != (here.dtype, here.device):
                raise ConfigError(f"{type(self).__name__}.{name}", f"{there.dtype} on {there.device}",
                                  expected=f"{here.dtype} on {here.device}: the engine's dtype and device",
                                  hint="Leave to(), half(), cuda() and the like away from weft's layers.")
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> PublicLayer:
        """An independent copy, which constructors of models may make. RuntimeError once the layer is bound."""
        if self.context is not None:
            raise RuntimeError(f"{type(self).__name__} is bound to an engine, whose kernels hold its weights: copy "
                               "layers in the constructor of the model.")
        copied = memo[id(self)] = self.__new__(type(self))
        vars(copied).update(deepcopy(vars(self), memo))
        for name in self.own_parameters():
            parameter = copied._parameters[name]
            assert parameter is not None, "a copy has what it is copied from"
            copied._give_loader(parameter)                    # torch copies no attributes of parameters
        return copied


def with_shard(tensor: Tensor, part: Part) -> Tensor:
    """The same numbers, known to be a part of a fused parameter: a `weight_loader` without a shard id uses it."""
    tensor = tensor.detach()
    setattr(tensor, _SHARD, part)
    return tensor


def shard_of(tensor: Tensor) -> Part:
    """The shard id that `with_shard` gave a tensor; None: it has none."""
    return getattr(tensor, _SHARD, None)


def check_input(layer: nn.Module, name: str, x: Any, context: LayerContext, width: int | None = None) -> None:
    """ValueError unless x is of the model's dtype on its device and ends in `width` columns (None: any number)."""
    if not isinstance(x, Tensor) or x.dim() < 1 or width not in (None, x.shape[-1]):
        found = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{type(layer).__name__}: {name} is {found}, expected [..., {width or 'N'}]")
    if x.dtype != context.dtype or x.device.type != context.device:
        raise ValueError(f"{type(layer).__name__}: {name} is {x.dtype} on {x.device}, expected {context.dtype} on "
                         f"{context.device}, the model's")


def check_sizes(layer: nn.Module, **sizes: Any) -> None:
    """ConfigError for a size that is no whole number of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"{type(layer).__name__}.{name}", size, expected="a whole number of at least 1")


def unsupported(layer: str, **options: Any) -> None:
    """ConfigError for an option that was set and has no code here."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise ConfigError(f"{layer}.{name}", value, expected="not to be set",
                              hint="weft has no code for this option of the layer.")

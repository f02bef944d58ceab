"""`Layer`: the base of all parts as modules: homes for a checkpoint's tensors, kernels, and what both cost.

A layer is built without memory (torch's "meta" device), so that a model can be asked for its sizes before a byte is
allocated. `allocate` gives it memory, loading fills its homes, `finish_loading` hands them to its kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from weft.errors import CheckpointError, DescriptionError, NotBuiltError
from weft.layers.calls import LayerType, call_with_hooks
from weft.layers.context import LayerContext
from weft.layers.shard import Extent, Span
from weft.ops.kernel import Choice
from weft.ops.quantized import QuantizedWeight

# Numbers that can become a weight by a cast. Others (integers, float8) are quantized and need their scales.
WEIGHT_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


@dataclass(frozen=True, slots=True, eq=False)
class Home:
    """Where a checkpoint's tensor goes.

    view: of the parameter's memory. layer: whose parameter it is. part: its name among that layer's homes.
    is_optional: the view has numbers already, which stay where the checkpoint has no tensor for it.
    rows, columns: what of the tensor's first and of its last dimension the view has; None, or a whole span: all.
    A model may name one home twice: what two names lead to is one home when layer and part are the same.
    """

    view: Tensor
    layer: Layer
    part: str
    rows: Extent | None = None
    columns: Span | None = None
    is_optional: bool = False

    @property
    def place(self) -> tuple[Layer, str]:
        """What is the same under every name of a home."""
        return self.layer, self.part

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """Of the checkpoint's tensor."""
        shape = list(self.view.shape)
        for dim, span in ((0, self.rows), (-1, self.columns)):
            if span is not None:
                shape[dim] = span.size
        return tuple(shape)

    def cut(self, whole: Tensor) -> Tensor:
        """What belongs here of a tensor of `whole_shape`: a view, unless the rows are several spans."""
        if self.rows is not None and not self.rows.is_whole:
            whole = whole[self.rows.entries]
        return whole if self.columns is None else whole[..., self.columns.entries]

    def cut_codes(self, whole: QuantizedWeight) -> QuantizedWeight:
        """What belongs here of the codes of a whole matrix."""
        if self.rows is not None and not self.rows.is_whole:
            whole = whole.rows(torch.arange(self.rows.size)[self.rows.entries])
        return self.cut_row(whole)

    def cut_row(self, row: QuantizedWeight) -> QuantizedWeight:
        """This home's columns of whole rows of codes."""
        span = self.columns
        return row if span is None or span.is_whole else row.columns(span.start, span.stop)

    @torch.no_grad()
    def fill(self, tensor: Tensor) -> None:
        """Copy what belongs here of a checkpoint's tensor. CheckpointError as `check`.

        A tensor on "meta" (shape and dtype from a file's header) is checked only.
        """
        self.check(tensor)
        if not tensor.is_meta:
            self.view.copy_(self.cut(tensor))

    def check(self, tensor: Tensor) -> None:
        """CheckpointError for a tensor of another shape or without plain floats, and for a home without memory."""
        name = f"{type(self.layer).__name__}.{self.part}"
        if self.view.is_meta and not tensor.is_meta:
            raise CheckpointError(f"{name}: the layer has no memory to load into: the engine gave it none yet, or its "
                                  "weight is packed for its kernel already. Load all weights once, in load_weights.")
        if tuple(tensor.shape) != self.whole_shape:
            raise CheckpointError(f"{name}: the checkpoint's tensor is {list(tensor.shape)}, the model has "
                                  f"{list(self.whole_shape)}: config.json and the weights do not fit each other.")
        if tensor.dtype not in WEIGHT_DTYPES:
            raise CheckpointError(f"{name}: the checkpoint's tensor is {str(tensor.dtype).removeprefix('torch.')}, "
                                  "expected floats of 16, 32 or 64 bits: quantized weights need their scales.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """The largest step. num_tokens: rows; num_wanted_rows: those that get logits; max_model_len: of one sequence."""

    num_tokens: int
    num_wanted_rows: int
    max_model_len: int
    num_threads: int


class _NotFinished:
    """Stands where `finish_loading` puts what a kernel makes of weights. Calling it is a RuntimeError."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("the layer was called before its weights were loaded: finish_loading() comes first")

    def rows(self, ids: Tensor) -> Tensor:
        """As __call__."""
        return self(ids)


NOT_FINISHED = _NotFinished()


class Layer(nn.Module, metaclass=LayerType):
    """A part as a module.

    `homes()` are places in its parameters under part names, which loading fills; `finish_loading()` is called once
    after that, on every layer (see finishing.py); `choices()` are the kernels it runs.
    takes_codes: its matrices may come as codes (quantized values), through `take`. takes_integers: the layer accepts
    codes with int8_activations on every kernel, also the reference.
    runs_in: the layer around this one, in words, when only that layer's kernel reads this one's parameters: then this
    layer is never called.
    """

    takes_codes = False
    takes_integers = False
    runs_in: str | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        """A layer is called straight, without torch's hooks (see calls.py), unless its class has a `__call__`."""
        super().__init_subclass__(**kwargs)
        if "forward" in vars(cls) and "__call__" not in vars(cls):
            cls.__call__ = cls.forward

    def register_forward_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """As torch. A result that lies in a shared buffer is overwritten later: clone what is kept."""
        self._require_calls("hook")
        handle = super().register_forward_hook(*args, **kwargs)
        call_with_hooks(self)
        return handle

    def register_forward_pre_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """As torch."""
        self._require_calls("hook")
        handle = super().register_forward_pre_hook(*args, **kwargs)
        call_with_hooks(self)
        return handle

    def __setattr__(self, name: str, value: Any) -> None:
        """As nn.Module. A `forward` takes effect with the next call."""
        if name == "forward":
            self._require_calls("forward")
        super().__setattr__(name, value)
        if name == "forward":
            call_with_hooks(self)

    def _require_calls(self, change: str) -> None:
        """NotBuiltError for a change of a layer that is never called."""
        if self.runs_in is not None:
            raise NotBuiltError(f"{type(self).__name__}.{change}", "a function",
                                expected=f"a {change} of {self.runs_in}",
                                hint=f"The kernel of {self.runs_in} computes this part together with others.")

    def bind_children(self) -> None:
        """Make the children plain attributes, which are found at once; torch's own way to them is slow."""
        vars(self).update(self._modules)

    def parameter(self, *shape: int, context: LayerContext) -> nn.Parameter:
        """A parameter without memory, which needs no gradient."""
        return nn.Parameter(torch.empty(shape, dtype=context.dtype, device="meta"), requires_grad=False)

    def allocate(self, device: str) -> None:
        """Give this layer's own parameters uninitialised memory."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                memory = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
                self._parameters[name] = nn.Parameter(memory, requires_grad=False)

    def own_homes(self) -> dict[str, Home]:
        """{part name: home} of this layer's own parameters. By default the parameters under their attribute names."""
        return {name: Home(parameter.data, self, name) for name, parameter in self._parameters.items()
                if parameter is not None}

    def homes(self) -> dict[str, Home]:
        """{part name: home}: this layer's own, and those of the layers below under their attribute names."""
        found = self.own_homes()
        for name, child in self.named_children():
            if isinstance(child, Layer):
                found |= {f"{name}.{part}": home for part, home in child.homes().items()}
        return found

    def refuse_homeless(self) -> None:
        """DescriptionError for a parameter here or below that `homes` leaves out, so that no tensor could fill it."""
        filled = self._filled()
        for path, parameter in self.named_parameters():
            if parameter.untyped_storage()._cdata in filled:
                continue
            around = [self.get_submodule(path.rsplit(".", depth)[0]) for depth in range(1, path.count(".") + 1)]
            forgetful = next((layer for layer in around if isinstance(layer, Layer)
                              and parameter.untyped_storage()._cdata not in layer._filled()), self)
            raise DescriptionError(
                path, list(parameter.shape), expected="a home, so that a tensor of the checkpoint can fill it",
                hint=f"homes() of {type(forgetful).__name__} leaves it out: add `| self.own_homes()` for a parameter, "
                "`| self.NAME.homes()` for a layer.")

    def _filled(self) -> set[int]:
        """The memory (torch's storages) that the homes lead to; on "meta" too."""
        return {home.view.untyped_storage()._cdata for home in self.homes().values()}

    def take(self, part: str, weight: QuantizedWeight) -> None:
        """Codes for a home of this layer."""
        raise AssertionError(f"{type(self).__name__} takes no codes")

    def finish_loading(self) -> None:
        """Turn this layer's own loaded parameters into what its kernel wants; layers within it do theirs."""

    def choices(self) -> Iterator[Choice]:
        """The kernels chosen in this layer and those below."""
        for module in self.modules():
            yield from (value for value in vars(module).values() if isinstance(value, Choice))

    # What the layer costs. Each method is of the layer alone, without the layers below it, unless it says otherwise.

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """Bytes of this layer's own parameters as its kernel holds them. codes: a row of each home that stays codes."""
        return sum(map(self.plain_bytes, filter_none(self._parameters.values())))

    def plain_bytes(self, parameter: Tensor) -> int:
        """Bytes of a parameter that is no matrix of a product. Native kernels keep vectors as float32 beside it."""
        has_copy = parameter.dim() == 1 and parameter.element_size() < 4 and self.is_native
        return parameter.numel() * (parameter.element_size() + (4 if has_copy else 0))

    @property
    def is_native(self) -> bool:
        """True when this layer's own kernel is weft's."""
        return any(isinstance(value, Choice) and value.name == "native" for value in vars(self).values())

    def token_bytes(self, native: bool) -> int:
        """Bytes that a token's row needs between the products of this part, layers below included.

        native: with buffers that stay (all roles together); else the widest that live at one time. By default, for the
        layers of users' files: a float32 number for each row of each matrix.
        """
        return 4 * sum(parameter.shape[0] for parameter in self.parameters() if parameter.dim() > 1)

    def step_bytes(self, limits: StepLimits) -> int:
        """Bytes of a step that are no rows of tokens: scores, states, buffers of threads."""
        return 0

    def num_idle_parameters(self) -> int:
        """Numbers of this layer's own parameters that one token does not use."""
        return 0

    def flops_per_token(self, context_len: int) -> int:
        """Floating-point operations of one token that sees context_len tokens: products and attention only."""
        return 0


def add_to(residual: Tensor | None, out: Tensor, alpha: float = 1.0) -> Tensor:
    """What a layer returns that is called with a residual: residual += alpha * out, or `out` where there is none."""
    return out if residual is None else residual.add_(out, alpha=alpha)


def filter_none(values: Iterable[Tensor | None]) -> Iterator[Tensor]:
    """Those that are there."""
    return (value for value in values if value is not None)


def allocate(model: nn.Module, device: str) -> None:
    """Give every layer of a model its memory."""
    for module in model.modules():
        if isinstance(module, Layer):
            module.allocate(device)

"""The layers of a pooling model's heads, which compute in float32: `DenseHead`, `NormHead`, and several in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.architectures.pooling_spec import DenseNormSpec, DenseSpec, HeadLayerSpec, UnitSpec
from weft.errors import ConfigError
from weft.layers.layer import Layer
from weft.ops.activation import ACTIVATIONS

_TORCH = "torch.nn.modules."
# Functions that only heads have. log1p(relu(x)) makes weights of a vocabulary's logits (SPLADE, arXiv:2107.05720).
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: x.softmax(-1),
    "identity": lambda x: x,
    "log1p_relu": lambda x: x.relu().log1p(),
    "log1p_log1p_relu": lambda x: x.relu().log1p().log1p(),
}


class DenseHead(Layer):
    """A DenseSpec with its weights. out_features, has_bias: as found where the spec leaves them open."""

    def __init__(self, spec: DenseSpec, in_features: int, out_features: int, *, has_bias: bool) -> None:
        super().__init__()
        self.weight = _parameter(out_features, in_features)
        self.bias = _parameter(out_features) if has_bias else None
        self.act = head_function(spec.act or "identity")

    def forward(self, x: Tensor) -> Tensor:
        """[N, in] float32 -> [N, out] float32."""
        return self.act(F.linear(x, self.weight, self.bias))


class NormHead(Layer):
    """A DenseNormSpec with its weights."""

    def __init__(self, spec: DenseNormSpec, features: int, *, has_bias: bool) -> None:
        super().__init__()
        self.eps = spec.eps
        self.weight = _parameter(features)
        self.bias = _parameter(features) if has_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, E] float32 -> [N, E] float32."""
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


class UnitHead(Layer):
    """A UnitSpec: it has no weights."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, E] float32 -> rows of length 1."""
        return F.normalize(x, dim=-1)


class HeadLayers(Layer):
    """Layers one after another, which are called "0", "1" and so on.

    in_features: of the first. num_labels: for layers whose size is the number of labels. biases: whether the checkpoint
    has a bias for layers whose spec leaves that open.
    """

    def __init__(self, specs: Iterable[HeadLayerSpec], in_features: int, num_labels: int,
                 biases: Callable[[HeadLayerSpec], bool]) -> None:
        super().__init__()
        for number, spec in enumerate(specs):
            bias = getattr(spec, "bias", False)
            has_bias = biases(spec) if bias is None else bias
            match spec:
                case DenseSpec():
                    width = num_labels if spec.out_features is None else spec.out_features
                    layer = DenseHead(spec, in_features, width, has_bias=has_bias)
                    in_features = width
                case DenseNormSpec():
                    layer = NormHead(spec, in_features, has_bias=has_bias)
                case UnitSpec():
                    layer = UnitHead()
            self.add_module(str(number), layer)
        self.out_features = in_features

    def forward(self, x: Tensor) -> Tensor:
        """[N, E] float32 -> [N, out_features] float32."""
        for layer in self.children():
            x = layer(x)
        return x


def head_function(name: str) -> Callable[[Tensor], Tensor]:
    """The function of a name: "softmax" (over the last dimension), "identity", "log1p_relu", "log1p_log1p_relu", one of
    `ops/activation`, or a class in torch.nn.modules that needs no arguments. ConfigError for any other name."""
    return _FUNCTIONS.get(name) or ACTIVATIONS.get(name) or _torch_function(name)


def _torch_function(name: str) -> Callable[[Tensor], Tensor]:
    """An instance of a class that torch.nn itself has: nothing else that a file names is imported or run."""
    cls = getattr(nn, name.rpartition(".")[2], None) if name.startswith(_TORCH) else None
    if not (isinstance(cls, type) and issubclass(cls, nn.Module) and f"{cls.__module__}.{cls.__name__}" == name):
        raise ConfigError("activation", name, expected=f"a class in {_TORCH.rstrip('.')}, or one of "
                          f"{', '.join(sorted(ACTIVATIONS))}")
    try:
        function = cls()
    except TypeError as error:
        raise ConfigError("activation", name, expected="a class of torch.nn that needs no arguments",
                          hint=str(error)) from error
    if next(function.parameters(), None) is not None:
        raise ConfigError("activation", name, expected="a function without weights")
    if isinstance(function, nn.Softmax):
        return lambda x: x.softmax(-1)
    function.eval()
    try:
        keeps_shape = function(torch.zeros(2, 4)).shape == (2, 4)
    except Exception as error:      # a class that is no function of one tensor: a loss, an empty module
        raise ConfigError("activation", name, expected="a function of a tensor", hint=str(error)) from error
    if not keeps_shape:
        raise ConfigError("activation", name, expected="a function that gives a number for each number")
    return function


def _parameter(*shape: int) -> nn.Parameter:
    """A float32 parameter without memory."""
    return nn.Parameter(torch.empty(shape, dtype=torch.float32, device="meta"), requires_grad=False)

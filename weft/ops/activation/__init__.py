"""Activations by their names in config files. Plain torch: each is its own definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.errors import ConfigError


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _relu_squared(x: Tensor) -> Tensor:
    return F.relu(x).square()


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


# Names as in Transformers' ACT2FN.
ACTIVATIONS = {
    "silu": F.silu, "swish": F.silu, "gelu": F.gelu, "gelu_new": _gelu_tanh, "gelu_fast": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh, "quick_gelu": _quick_gelu, "relu": F.relu, "relu2": _relu_squared,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid,
}


def activation(name: str):
    """The function of a name. ConfigError names the ones there are."""
    if name not in ACTIVATIONS:
        raise ConfigError("hidden_act", name, expected=f"one of {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]

"""Activations by their names in config files: torch's functions are the definition, `cpu.py` has weft's kernel.

A kernel runs `run(x, out=None)`. The activation behind a linear layer is part of its epilogue instead: see ops/linear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.errors import ConfigError
from weft.ops.activation.cpu import ACTS, NativeActivation
from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.native import DTYPES, unavailable


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _relu_squared(x: Tensor) -> Tensor:
    return F.relu(x).square()


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def swigluoai(x: Tensor, alpha: float = 1.702, limit: float = 7.0) -> Tensor:
    """[..., 2F] -> [..., F]: gate and up are even and odd columns (gpt-oss, arXiv:2508.10925)."""
    gate, up = x[..., ::2].clamp(max=limit), x[..., 1::2].clamp(-limit, limit)
    return (up + 1) * (gate * torch.sigmoid(gate * alpha))


# Names as in Transformers' ACT2FN.
ACTIVATIONS = {
    "silu": F.silu, "swish": F.silu, "gelu": F.gelu, "gelu_new": _gelu_tanh, "gelu_fast": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh, "quick_gelu": _quick_gelu, "relu": F.relu, "relu2": _relu_squared,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid,
}


def activation(name: str):
    """The torch function with this name. ConfigError for an unknown name lists the known ones."""
    if name not in ACTIVATIONS:
        raise ConfigError("hidden_act", name, expected=f"one of {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]


@dataclass(frozen=True, slots=True)
class ClampedGLU:
    """[..., 2F] -> [..., F]: gate * sigmoid(alpha * gate) * (up + up_offset) of the two halves, gate first; gate is at
    most `limit`, up is from -limit to limit (gpt-oss, arXiv:2508.10925).
    """

    limit: float
    alpha: float = 1.0
    up_offset: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """As said."""
        gate, up = x.chunk(2, dim=-1)
        gate, up = gate.clamp(max=self.limit), up.clamp(-self.limit, self.limit)
        return (up + self.up_offset) * (gate * torch.sigmoid(gate * self.alpha))


# Gates that are no activation of one half times the other half.
GATES: dict[str, Callable[[Tensor], Tensor]] = {"swigluoai": swigluoai}


def gate(name: str | ClampedGLU) -> Callable[[Tensor], Tensor]:
    """The function [..., 2F] -> [..., F] of a gated activation. ConfigError for an unknown name."""
    if isinstance(name, ClampedGLU):
        return name
    return GATES[name] if name in GATES else partial(_torch, activation(name), True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationCase:
    """Decides which kernel computes an activation. gated: act(first half of the columns) * second half.

    act None: the number itself, so that a gated one is the product of the halves.
    """

    device: str
    dtype: torch.dtype
    act: str | None
    gated: bool = False
    isa: str = "reference"


def _native_refuses(case: ActivationCase) -> str | None:
    if case.act not in ACTS:
        return f"activation {case.act}"
    return unavailable(case.device, case.isa) or (None if case.dtype in DTYPES else f"{case.dtype}")


def choose_activation(case: ActivationCase) -> Choice:
    """The kernel that runs `run(x, out=None)`: [T, F], or [T, 2F] with a gate, -> [T, F]; `out` need not be used."""
    native = None if _native_refuses(case) else NativeActivation(case.act, case.gated, case.isa)
    return choose("activation", (
        Kernel("native", native, _native_refuses),
        Kernel("torch", partial(_torch, _itself if case.act is None else activation(case.act), case.gated), never),
    ), case)


def _itself(x: Tensor) -> Tensor:
    return x


def _torch(act, gated: bool, x: Tensor, out: Tensor | None = None) -> Tensor:
    if not gated:
        return act(x)
    gate, up = x.chunk(2, dim=-1)
    return act(gate) * up

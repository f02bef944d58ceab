"""Activations of foreign models, by their names in configs and under vLLM's class names."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.layers.context import LayerContext
from weft.layers.public.layer import PublicLayer, StepRef, check_input
from weft.ops.activation import ACTIVATIONS, ActivationCase, choose_activation, swigluoai

_TORCH_MODULES = "torch.nn.modules."


class Activation(PublicLayer):
    """act(x) of each number. act: a name of ops/activation."""

    is_gated = False

    def __init__(self, act: str) -> None:
        super().__init__()
        self.act = act

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        self.choice = choose_activation(ActivationCase(device=context.device, dtype=context.dtype, act=self.act,
                                                       gated=self.is_gated, isa=context.isa))

    def forward(self, x: Tensor) -> Tensor:
        """[..., F] -> [..., F], newly allocated."""
        check_input(self, "x", x, self.ready())
        return self.choice.run(x.reshape(-1, x.shape[-1])).view(x.shape)

    def extra_repr(self) -> str:
        """As nn.Module."""
        return self.act


class NewGELU(Activation):
    """GELU by a tanh. Source: arXiv:1606.08415."""

    def __init__(self) -> None:
        super().__init__("gelu_new")


class FastGELU(Activation):
    """As NewGELU, from which Transformers' formula differs in rounding only."""

    def __init__(self) -> None:
        super().__init__("gelu_fast")


class QuickGELU(Activation):
    """x * sigmoid(1.702 * x). Source: arXiv:1606.08415."""

    def __init__(self) -> None:
        super().__init__("quick_gelu")


class ReLUSquaredActivation(Activation):
    """relu(x) squared. Source: arXiv:2109.08668."""

    def __init__(self) -> None:
        super().__init__("relu2")


class GatedActivation(Activation):
    """act(gate) * up of the two halves of each row. act: a name of ops/activation."""

    is_gated = True

    def forward(self, x: Tensor) -> Tensor:
        """[..., 2 * F] -> [..., F], newly allocated."""
        check_input(self, "x", x, self.ready())
        _check_halves(self, x)
        return self.choice.run(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], x.shape[-1] // 2)


class SiluAndMul(GatedActivation):
    """silu(gate) * up. Source: SwiGLU, arXiv:2002.05202."""

    def __init__(self) -> None:
        super().__init__("silu")


class MulAndSilu(GatedActivation):
    """up * silu(gate), where `up` is the first half of each row."""

    def __init__(self) -> None:
        super().__init__("silu")

    def forward(self, x: Tensor) -> Tensor:
        """[..., 2 * F] -> [..., F], newly allocated."""
        _check_halves(self, x)
        return super().forward(x.roll(x.shape[-1] // 2, dims=-1))


class GeluAndMul(GatedActivation):
    """gelu(gate) * up. approximate: "none" or "tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ConfigError("GeluAndMul.approximate", approximate, expected='"none" or "tanh"')
        super().__init__("gelu" if approximate == "none" else "gelu_pytorch_tanh")


class FatreluAndMul(nn.Module):
    """gate * up where the gate is above a threshold, else 0."""

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """[..., 2 * F] -> [..., F]."""
        _check_halves(self, x)
        gate, up = x.chunk(2, dim=-1)
        return F.threshold(gate, self.threshold, 0.0) * up


class SwigluOAIAndMul(nn.Module):
    """gate * sigmoid(alpha * gate) * (up + 1), where gate and up are even and odd columns, cut off at `limit`.

    Source: gpt-oss, arXiv:2508.10925.
    """

    def __init__(self, alpha: float = 1.702, limit: float = 7.0) -> None:
        super().__init__()
        self.alpha, self.limit = alpha, limit

    def forward(self, x: Tensor) -> Tensor:
        """[..., 2 * F] -> [..., F]."""
        _check_halves(self, x)
        return swigluoai(x, self.alpha, self.limit)


class SiluAndMulWithClamp(nn.Module):
    """silu(gate) * up with gate at most `swiglu_limit`, and up between -swiglu_limit and swiglu_limit."""

    def __init__(self, swiglu_limit: float) -> None:
        super().__init__()
        self.swiglu_limit = swiglu_limit

    def forward(self, x: Tensor) -> Tensor:
        """[..., 2 * F] -> [..., F]."""
        _check_halves(self, x)
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate.clamp(max=self.swiglu_limit)) * up.clamp(-self.swiglu_limit, self.swiglu_limit)


class XIELU(nn.Module):
    """xIELU, with two learned numbers. Source: arXiv:2411.13010."""

    def __init__(self, alpha_p_init: float = 0.8, alpha_n_init: float = 0.8, beta: float = 0.5, eps: float = -1e-6,
                 dtype: torch.dtype | None = None, with_vector_loads: bool = False) -> None:
        super().__init__()
        self.alpha_p, self.alpha_n = (
            nn.Parameter(torch.tensor([start], dtype=dtype).expm1().log(), requires_grad=False)
            for start in (alpha_p_init, alpha_n_init - beta))
        # Checkpoints have these two beside the learned ones.
        self.register_buffer("beta", torch.tensor(beta, dtype=dtype))
        self.register_buffer("eps", torch.tensor(eps, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """[...] -> [...]."""
        beta, eps = self.get_buffer("beta"), self.get_buffer("eps")
        positive, negative = F.softplus(self.alpha_p), beta + F.softplus(self.alpha_n)
        below = (torch.expm1(torch.minimum(x, eps)) - x) * negative
        return torch.where(x > 0, positive * x * x, below) + beta * x


_CLASSES: dict[str, Any] = {"gelu_new": NewGELU, "gelu_fast": FastGELU, "quick_gelu": QuickGELU,
                            "relu2": ReLUSquaredActivation, "xielu": XIELU}
_GATED: dict[str, Any] = {
    "silu": SiluAndMul, "swish": SiluAndMul, "gelu": GeluAndMul, "geglu": GeluAndMul,
    "gelu_pytorch_tanh": lambda: GeluAndMul(approximate="tanh"), "swigluoai": SwigluOAIAndMul, "fatrelu": FatreluAndMul}


def get_act_fn(act_fn_name: str) -> nn.Module:
    """The activation with a config's name, or of torch by its path: "torch.nn.modules.activation.GELU".

    ConfigError for an unknown name lists the known ones.
    """
    name = act_fn_name.lower()
    if name.startswith(_TORCH_MODULES):
        found = getattr(torch.nn.modules.activation, act_fn_name.rpartition(".")[2], None)
        if isinstance(found, type) and issubclass(found, nn.Module):
            return found()
    if name in _CLASSES:
        return _CLASSES[name]()
    if name in ACTIVATIONS:
        return Activation(name)
    raise ConfigError("get_act_fn", act_fn_name,
                      expected=f"one of {', '.join(known_acts())}, or a class of {_TORCH_MODULES}activation")


def known_acts() -> list[str]:
    """The names that `get_act_fn` takes, sorted."""
    return sorted(ACTIVATIONS.keys() | _CLASSES.keys())


def get_act_and_mul_fn(act_fn_name: str) -> nn.Module:
    """The gated activation with a config's name. ConfigError for an unknown name lists the known ones."""
    if act_fn_name.lower() not in _GATED:
        raise ConfigError("get_act_and_mul_fn", act_fn_name, expected=f"one of {', '.join(sorted(_GATED))}")
    return _GATED[act_fn_name.lower()]()


def _check_halves(layer: nn.Module, x: Tensor) -> None:
    if x.shape[-1] % 2:
        raise ValueError(f"{type(layer).__name__}: x is {list(x.shape)}, expected an even number of columns")

"""Gated activations of foreign models: act(first half of the columns) * second half."""

from __future__ import annotations

from torch import Tensor

from weft.errors import ConfigError
from weft.layers.context import LayerContext
from weft.layers.public.layer import PublicLayer, StepRef, check_input
from weft.ops.activation import ActivationCase, choose_activation


class GatedActivation(PublicLayer):
    """act(gate) * up of the two halves of each row. act: a name of ops/activation."""

    def __init__(self, act: str) -> None:
        super().__init__()
        self.act = act

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        self.choice = choose_activation(ActivationCase(device=context.device, dtype=context.dtype, act=self.act,
                                                       gated=True, isa=context.isa))

    def forward(self, x: Tensor) -> Tensor:
        """[..., 2 * F] -> [..., F], newly allocated."""
        check_input(self, "x", x, self.ready())
        if x.shape[-1] % 2:
            raise ValueError(f"{type(self).__name__}: x is {list(x.shape)}, expected an even number of columns")
        return self.choice.run(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], x.shape[-1] // 2)


class SiluAndMul(GatedActivation):
    """silu(gate) * up. Source: SwiGLU, arXiv:2002.05202."""

    def __init__(self) -> None:
        super().__init__("silu")


class GeluAndMul(GatedActivation):
    """gelu(gate) * up. approximate: "none" or "tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ConfigError("GeluAndMul.approximate", approximate, expected='"none" or "tanh"')
        super().__init__("gelu" if approximate == "none" else "gelu_pytorch_tanh")

"""The gated short convolution of LFM2 as a module: a product in, a gate, a convolution, a gate, a product out."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from weft.architectures.spec import ShortConvSpec
from weft.layers.causal_conv import CausalConv
from weft.layers.context import LayerContext
from weft.layers.layer import Home
from weft.layers.linear import Linear
from weft.layers.state import StateLayer
from weft.ops.activation import ActivationCase, choose_activation
from weft.ops.step import Step


class ShortConv(StateLayer):
    """A ShortConvSpec with its weights. spec: of the channels that are built, all or a shard's."""

    def __init__(self, spec: ShortConvSpec, hidden_size: int, *, context: LayerContext) -> None:
        channels = context.divided("hidden_size", spec.inner_size)
        spec = replace(spec, inner_size=len(channels))
        super().__init__(spec, context=context)
        self.spec = spec
        parts = {"b": channels, "x": channels, "c": channels}     # factors of one product lie side by side
        self.enter = Linear(hidden_size, parts, bias=spec.bias, context=context)
        self.conv = CausalConv(channels, spec.conv_size, act=None, bias=spec.bias, context=context)
        self.out = Linear(channels, {"o": hidden_size}, bias=spec.bias, context=context)
        self.product_choice = choose_activation(ActivationCase(device=context.device, dtype=context.dtype, act=None,
                                                               gated=True, isa=context.isa))
        self.scratch = context.scratch

    def forward(self, x: Tensor, step: Step, angles: None = None, residual: Tensor | None = None,
                alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned. There are no angles."""
        size, multiply = self.spec.inner_size, self.product_choice.run
        bxc = self.enter(x)                                                             # [T, 3 I]
        gated = self.scratch.take("gated", x.shape[0], size, self.dtype)
        gated = multiply(bxc[:, : 2 * size], gated)
        self.conv(gated, self.conv_states, step.caches[self.group], bxc[:, size : 2 * size])      # x is not needed now
        return self.out(multiply(bxc[:, size:], gated), residual, alpha)

    def homes(self) -> dict[str, Home]:
        convs = {f"conv.{part}": home for part, home in self.conv.homes().items()}
        return self.enter.homes() | convs | self.out.homes()

    def token_bytes(self, native: bool) -> int:
        """As Layer: b, x and c, and their product; torch's convolution has float32 numbers besides."""
        return self.spec.inner_size * (4 * self.dtype.itemsize + (0 if native else 2 * 4))

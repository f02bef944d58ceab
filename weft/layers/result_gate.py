"""`ResultGate`: what a mixer computed, times a function of the block's input."""

from __future__ import annotations

from torch import Tensor

from weft.layers.context import LayerContext
from weft.layers.layer import Home, Layer
from weft.layers.linear import Linear
from weft.layers.shard import Span
from weft.ops.activation import ActivationCase, choose_activation
from weft.ops.copy_rows import CopyCase, choose_copy


class ResultGate(Layer):
    """act(z(h)) * y, or act(z_b(z_a(h))) * y with `rank` numbers between. width: of y.

    The gate and y are brought side by side, because that is where the kernel reads its two factors.
    """

    def __init__(self, hidden_size: int, width: Span, *, act: str, rank: int | None, context: LayerContext) -> None:
        super().__init__()
        self.z_a = None if rank is None else Linear(hidden_size, {"z_a": rank}, bias=False, context=context)
        self.z = Linear(rank or hidden_size, {"z": width}, bias=False, context=context)
        self.choice = choose_activation(ActivationCase(device=context.device, dtype=context.dtype, act=act, gated=True,
                                                       isa=context.isa))
        self.copy_choice = choose_copy(CopyCase(device=context.device, dtype=context.dtype, isa=context.isa))
        self.width, self.dtype, self.scratch = len(width), context.dtype, context.scratch

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x [T, E], y [T, width] -> [T, width]; y is not needed afterwards."""
        both = self.scratch.take("result_gate", x.shape[0], 2 * self.width, self.dtype)
        self.z(x if self.z_a is None else self.z_a(x), out=both[:, : self.width])
        self.copy_choice.run(y, both[:, self.width :])
        return self.choice.run(both, y)

    def homes(self) -> dict[str, Home]:
        return self.z.homes() if self.z_a is None else self.z_a.homes() | self.z.homes()

"""Two mixers side by side as a module: their results are added."""

from __future__ import annotations

from torch import Tensor

from weft.architectures.spec import PairSpec, Rope
from weft.layers.context import LayerContext
from weft.layers.layer import Layer
from weft.layers.registry import layer_of
from weft.ops.step import Step


class Pair(Layer):
    """A PairSpec with its weights."""

    def __init__(self, spec: PairSpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        self.spec = spec
        self.attention, self.state = (layer_of(part)(part, hidden_size, context=context)
                                      for part in (spec.attention, spec.state))

    def forward(self, x: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None, residual: Tensor | None = None,
                alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned. angles: of attention."""
        out = self.attention(x, step, angles, residual, alpha)
        return self.state(x, step, None, out, 1.0 if residual is None else alpha)

    @property
    def rope(self) -> Rope | None:
        """The rotary positions that attention wants."""
        return self.attention.rope

    def token_bytes(self, native: bool) -> int:
        """As Layer."""
        parts = [part.token_bytes(native) for part in (self.attention, self.state)]
        return sum(parts) if native else max(parts)

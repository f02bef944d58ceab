"""The norms of a spec as modules: weft's own, and those that users' files register."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from torch import Tensor

from weft.architectures.spec import LayerNorm, NormSpec, RMSNorm
from weft.layers.context import LayerContext
from weft.layers.layer import NOT_FINISHED, Home, Layer
from weft.layers.registry import layer_of, register_part
from weft.layers.shard import Span
from weft.ops.norm import NormCase, NormOptions, choose_norm


class Norm(Layer):
    """RMSNorm or LayerNorm over the last dimension.

    shape: of the weight, [N]; [H, D] for one of each head, which only `weight` and `options` are read of. The first may
        be a Span: the part that is built.
    role: name of the buffer that results are put into, which the next norm of that role uses again; None: memory of
        their own.
    """

    def __init__(self, spec: RMSNorm | LayerNorm, *shape: int | Span, context: LayerContext,
                 role: str | None = None) -> None:
        super().__init__()
        spans = [Span.of(size) for size in shape]
        self.rows, self.sizes = spans[0], [len(span) for span in spans]
        has_bias = isinstance(spec, LayerNorm) and spec.has_bias
        self.weight = self.parameter(*self.sizes, context=context) if spec.has_weight else None
        self.bias = self.parameter(*self.sizes, context=context) if has_bias else None
        self.options, self.scratch, self.role, self.dtype = norm_options(spec), context.scratch, role, context.dtype
        self.choice = choose_norm(NormCase(device=context.device, dtype=context.dtype, options=self.options,
                                           isa=context.isa))
        self.normalise: Callable[..., Tensor] = NOT_FINISHED   # what the kernel makes of weight and bias

    def forward(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, N] -> [T, N]; with a residual, residual += alpha * that, and it is returned."""
        if residual is not None:
            return self.normalise(x, residual=residual, alpha=alpha)
        if self.role is None:
            return self.normalise(x)
        return self.normalise(x, self.scratch.take(self.role, x.shape[0], x.shape[1], self.dtype))

    def own_homes(self) -> dict[str, Home]:
        """As Layer."""
        return {name: replace(home, rows=self.rows) for name, home in super().own_homes().items()}

    def finish_loading(self) -> None:
        """Give weight and bias to the kernel."""
        self.normalise = self.choice.prepare(
            *(None if p is None else p.data for p in (self.weight, self.bias)), self.options)


def norm_options(spec: RMSNorm | LayerNorm) -> NormOptions:
    """A spec's norm as operators know it."""
    if isinstance(spec, LayerNorm):
        return NormOptions(centred=True, eps=spec.eps, offset=spec.offset)
    return NormOptions(centred=False, eps=spec.eps, offset=spec.offset, cast_before_weight=spec.cast_before_weight)


def optional_norm(spec: NormSpec | None, size: int, *, context: LayerContext, role: str | None = None) -> Norm | None:
    """The layer of a norm over `size` numbers, or None where the spec has none."""
    return None if spec is None else cast("Norm", layer_of(spec)(spec, size, context=context, role=role))


register_part(RMSNorm, Norm)
register_part(LayerNorm, Norm)

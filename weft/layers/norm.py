"""The norms of a spec as modules."""

from __future__ import annotations

from torch import Tensor

from weft.architectures.spec import LayerNorm, NormSpec, RMSNorm
from weft.layers.placement import Layer, Placement
from weft.ops.norm import NormCase, choose_layer_norm, choose_rms_norm


class Norm(Layer):
    """RMSNorm or LayerNorm over the last dimension.

    shape: of the weight, [N], or [H, D] for a weight of each head (the norm is over D).
    """

    def __init__(self, spec: NormSpec, *shape: int, place: Placement) -> None:
        super().__init__()
        self.spec = spec
        has_weight = isinstance(spec, RMSNorm) or spec.has_weight
        has_bias = isinstance(spec, LayerNorm) and spec.has_bias
        self.weight = self.parameter(*shape, place=place) if has_weight else None
        self.bias = self.parameter(*shape, place=place) if has_bias else None
        if isinstance(spec, RMSNorm):
            self.kernel = choose_rms_norm(NormCase(device=place.device, has_offset=spec.offset != 0))
        else:
            self.kernel = choose_layer_norm(NormCase(device=place.device))

    def forward(self, x: Tensor) -> Tensor:
        """[..., N] -> [..., N]."""
        spec = self.spec
        if isinstance(spec, RMSNorm):
            return self.kernel.run(x, self.weight, spec.eps, spec.offset, spec.cast_before_weight)
        return self.kernel.run(x, self.weight, self.bias, spec.eps)

    def homes(self) -> dict[str, Tensor]:
        pairs = (("weight", self.weight), ("bias", self.bias))
        return {name: parameter.data for name, parameter in pairs if parameter is not None}


def optional_norm(spec: NormSpec | None, *shape: int, place: Placement) -> Norm | None:
    """A Norm, or None where the spec has none."""
    return None if spec is None else Norm(spec, *shape, place=place)

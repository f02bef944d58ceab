"""`Linear`: one matrix product that may hold several of a checkpoint's matrices, stacked by rows."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from weft.layers.placement import Layer, Placement
from weft.ops.linear import LinearCase, choose_linear


class Linear(Layer):
    """x @ weight.T + bias.

    parts: {part name: rows}; q, k and v (or gate and up) are one product and three homes.
    is_shared: the weight will be another layer's, and must stay as it is.
    """

    def __init__(self, in_features: int, parts: Mapping[str, int], *, bias: bool, place: Placement,
                 is_shared: bool = False) -> None:
        super().__init__()
        self.parts = dict(parts)
        out_features = sum(self.parts.values())
        self.weight = self.parameter(out_features, in_features, place=place)
        self.bias = self.parameter(out_features, place=place) if bias else None
        self.kernel = choose_linear(LinearCase(device=place.device, dtype=place.dtype, in_features=in_features,
                                               out_features=out_features, is_shared=is_shared))

    def forward(self, x: Tensor) -> Tensor:
        """[T, in] -> [T, out], the parts' columns one after another."""
        return self.kernel.run(x, self.weight, self.bias)

    def finish_loading(self) -> None:
        """Give the kernel the weight in its layout. The homes no longer lead to it."""
        if self.kernel.kernel.prepare is not None:
            self.weight = nn.Parameter(self.kernel.kernel.prepare(self.weight.data), requires_grad=False)

    def homes(self) -> dict[str, Tensor]:
        homes, start = {}, 0
        for name, rows in self.parts.items():
            homes[f"{name}.weight"] = self.weight.data[start : start + rows]
            if self.bias is not None:
                homes[f"{name}.bias"] = self.bias.data[start : start + rows]
            start += rows
        return homes

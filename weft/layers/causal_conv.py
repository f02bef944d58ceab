"""The short convolution along each sequence, as a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from weft.layers.context import LayerContext
from weft.layers.layer import NOT_FINISHED, Home, Layer
from weft.layers.linear import shape_only
from weft.layers.shard import Extent, extent
from weft.ops.causal_conv import CausalConvCase, choose_causal_conv
from weft.ops.quantized import QuantizedWeight
from weft.ops.scan_plan import ScanPlan


class CausalConv(Layer):
    """act(bias + the last `size` rows, weighted), each channel by itself. channels: those that are built. act None: the
    weighted sum alone. parts: {part name: channels} where the checkpoint has a tensor for each part.
    """

    def __init__(self, channels: int | Extent, size: int, *, act: str | None, bias: bool,
                 parts: Mapping[str, Extent] | None = None, context: LayerContext) -> None:
        super().__init__()
        self.parts = parts
        self.channels = extent(channels)
        self.weight = self.parameter(len(self.channels), size, context=context)         # [C, K]
        self.bias = self.parameter(len(self.channels), context=context) if bias else None
        self.choice = choose_causal_conv(CausalConvCase(device=context.device, dtype=context.dtype, kernel_size=size,
                                                        act=act, isa=context.isa))
        self.scratch = context.scratch
        self.convolve: Callable[..., Tensor] = NOT_FINISHED     # what the kernel makes of weight and bias

    def forward(self, x: Tensor, states: Tensor, plan: ScanPlan, out: Tensor | None = None) -> Tensor:
        """[T, C] -> [T, C], in `out` or in scratch memory; states [B, K - 1, C]."""
        if out is None:
            out = self.scratch.take("conv", x.shape[0], x.shape[1], x.dtype)
        return self.convolve(x, states, plan, out)

    def own_homes(self) -> dict[str, Home]:
        """As Layer."""
        if self.parts is None:
            return {name: replace(home, rows=self.channels) for name, home in super().own_homes().items()}
        views = self.weight.data.split([len(rows) for rows in self.parts.values()])
        return {f"{part}.weight": Home(view, self, f"{part}.weight", rows)
                for (part, rows), view in zip(self.parts.items(), views, strict=True)}

    def finish_loading(self) -> None:
        """Give weight and bias to the kernel."""
        self.convolve = self.choice.prepare(self.weight.data, None if self.bias is None else self.bias.data)
        if self.is_native:
            self.weight = shape_only(self.weight)

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer. The native kernel has the weight in float32 only."""
        bias = 0 if self.bias is None else self.plain_bytes(self.bias)
        return bias + self.weight.numel() * (4 if self.is_native else self.weight.element_size())

    def flops_per_token(self, context_len: int) -> int:
        return 2 * self.weight.numel()

"""`Linear`: one matrix product that may hold several of a checkpoint's matrices, stacked by rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from weft.layers.context import LayerContext
from weft.layers.layer import Layer
from weft.ops.linear import Epilogue, LinearCase, Product, choose_linear, empty_weight
from weft.ops.quantized import QuantizedWeight, stacked


class Linear(Layer):
    """act(x @ weight.T + bias), or the product alone.

    parts: {part name: rows}; q, k and v (or gate and up) are one product and three homes.
    act: a name of ops/activation; gated: act(first half) * second half.
    """

    takes_integers = True

    def __init__(self, in_features: int, parts: Mapping[str, int], *, bias: bool, context: LayerContext,
                 act: str | None = None, gated: bool = False) -> None:
        super().__init__()
        self.parts = dict(parts)
        out_features = sum(self.parts.values())
        case = linear_case(context, in_features, out_features, gated=gated)
        self.choice = choose_linear(case)
        self.weight = nn.Parameter(empty_weight(case, on_meta=not context.has_memory), requires_grad=False)
        self.bias = self.parameter(out_features, context=context) if bias else None
        self.epilogue = Epilogue(act=act, gated=gated, out_dtype=context.dtype)
        self.width = out_features // 2 if gated else out_features
        self.scratch, self.role = context.scratch, next(iter(self.parts))
        self.product: Product | None = None
        self.takes_codes = self.choice.name == "native"
        self.codes: dict[int, QuantizedWeight] = {}           # parts that were loaded as codes, by their first row

    def forward(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, in] -> [T, width]; with a residual, residual += alpha * that, and it is returned.

        Without one, the result is a buffer that the next layer of the same role will use again.
        """
        if residual is not None:
            return self.product(x, residual, alpha)
        out = self.scratch.take(self.role, x.shape[0], self.width, self.epilogue.out_dtype)
        return self.product(x, None, alpha, out)

    def finish_loading(self) -> None:
        """Give the weight to the kernel. The homes no longer lead to it."""
        bias = None if self.bias is None else self.bias.data
        weight = with_codes(self.weight.data, self.codes, self.parts.values())
        self.product = self.choice.prepare(weight, bias, self.epilogue)
        self.weight, self.codes = shape_only(self.weight), {}

    def take(self, parameter: nn.Parameter, first: int, weight: QuantizedWeight) -> None:
        """As Layer."""
        self.codes[first // self.weight.shape[1]] = weight

    def homes(self) -> dict[str, Tensor]:
        homes, start = {}, 0
        for name, rows in self.parts.items():
            homes[f"{name}.weight"] = self.weight.data[start : start + rows]
            if self.bias is not None:
                homes[f"{name}.bias"] = self.bias.data[start : start + rows]
            start += rows
        return homes


def linear_case(context: LayerContext, in_features: int, out_features: int, *, gated: bool = False,
                is_table: bool = False) -> LinearCase:
    """The case of a matrix of a layer in a context."""
    return LinearCase(device=context.device, dtype=context.dtype, in_features=in_features, out_features=out_features,
                      isa=context.isa, gated=gated, is_table=is_table, quantization=context.quantization,
                      nodes=context.nodes)


def with_codes(weight: Tensor, codes: Mapping[int, QuantizedWeight],
               parts: Iterable[int]) -> Tensor | QuantizedWeight | list[Tensor | QuantizedWeight]:
    """A loaded matrix: the numbers of `weight`, or codes for all of its rows, or a list of both by parts.

    codes: by first row; parts: rows of each part.
    """
    if not codes:
        return weight
    pieces, start = [], 0
    for rows in parts:
        pieces.append(codes.get(start, weight[start : start + rows]))
        start += rows
    return stacked(pieces) or pieces


def shape_only(weight: Tensor) -> nn.Parameter:
    """What stays of a parameter whose memory a kernel took: its shape and dtype."""
    return nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype, device="meta"), requires_grad=False)

"""`Linear`: one matrix product that may hold several of a checkpoint's matrices, stacked by rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from weft.layers.context import LayerContext
from weft.layers.layer import NOT_FINISHED, Home, Layer
from weft.layers.shard import Extent, Span, extent
from weft.ops.linear import Epilogue, LinearCase, Product, choose_linear, empty_weight, product_bytes
from weft.ops.quantized import QuantizedWeight, stacked


class Linear(Layer):
    """act(x @ weight.T + bias), or the product alone.

    parts: {part name: rows}; q, k and v (or gate and up) are one product and three homes.
    act: a name of ops/activation; gated: act(first half) * second half.
    Rows as a Span or Spans: those are the rows that are built. in_features as a Span: the columns that are built; then
    x has these columns, the result is a partial sum, and only the first shard adds the bias.
    without_bias: parts whose bias is 0 where the checkpoint has none.
    """

    takes_integers = True

    def __init__(self, in_features: int | Span, parts: Mapping[str, int | Extent], *, bias: bool, context: LayerContext,
                 act: str | None = None, gated: bool = False, without_bias: Sequence[str] = ()) -> None:
        super().__init__()
        self.columns, self.rows = Span.of(in_features), {part: extent(rows) for part, rows in parts.items()}
        self.parts = {part: len(rows) for part, rows in self.rows.items()}
        out_features = sum(self.parts.values())
        self.case = linear_case(context, len(self.columns), out_features, gated=gated)
        self.choice = choose_linear(self.case)
        self.weight = self.parameter(out_features, len(self.columns), context=context)
        self.bias = self.parameter(out_features, context=context) if bias else None
        self.without_bias = without_bias
        self.epilogue = Epilogue(act=act, gated=gated, out_dtype=context.dtype)
        self.width = out_features // 2 if gated else out_features
        self.scratch, self.role = context.scratch, next(iter(self.parts))
        self.product: Product = NOT_FINISHED
        self.takes_codes = self.choice.name == "native"
        self.codes: dict[str, QuantizedWeight] = {}           # by home: matrices loaded as codes (quantized values)

    def forward(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0,
                out: Tensor | None = None) -> Tensor:
        """[T, in] -> [T, width]; with a residual, residual += alpha * that, and it is returned.

        out: memory for the result, whose rows may lie apart. Without it and without a residual, the result is a buffer
        that the next layer of the same role will use again.
        """
        if residual is not None:
            return self.product(x, residual, alpha)
        if out is not None:
            result = self.product(x, None, alpha, out)
            return out if result is out else out.copy_(result)     # torch's products make their results anew
        out = self.scratch.take(self.role, x.shape[0], self.width, self.epilogue.out_dtype)
        return self.product(x, None, alpha, out)

    def finish_loading(self) -> None:
        """Give the weight to the kernel, which may pack it in place: the homes are no longer valid."""
        bias = None if self.bias is None else self.bias.data
        if bias is not None and not self.columns.is_first:
            bias.zero_()
        weight = with_codes(self.weight.data, [self.codes.get(f"{part}.weight") for part in self.parts],
                            self.parts.values())
        self.product = self.choice.prepare(weight, bias, self.epilogue)
        self.weight, self.codes = shape_only(self.weight), {}

    def take(self, part: str, weight: QuantizedWeight) -> None:
        """As Layer."""
        self.codes[part] = weight

    def allocate(self, device: str) -> None:
        """As Layer; the weight has room for the kernel to pack it in place."""
        super().allocate(device)
        self.weight = nn.Parameter(empty_weight(self.case), requires_grad=False)
        if self.bias is not None and self.without_bias:
            self.bias.data.zero_()

    def own_homes(self) -> dict[str, Home]:
        """As Layer: the rows of each part."""
        homes, start = {}, 0
        for name, rows in self.rows.items():
            end = start + len(rows)
            homes[f"{name}.weight"] = Home(self.weight.data[start:end], self, f"{name}.weight", rows, self.columns)
            if self.bias is not None:
                homes[f"{name}.bias"] = Home(self.bias.data[start:end], self, f"{name}.bias", rows,
                                             is_optional=name in self.without_bias)
            start = end
        return homes

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer. Parts of one format are packed as one matrix, parts of several formats one by one. Halves of
        a gate become floats where their formats differ.
        """
        rows = [codes.get(f"{part}.weight") for part in self.parts]
        bias = 0 if self.bias is None else self.plain_bytes(self.bias)
        if len({None if row is None else row.format for row in rows}) == 1:
            return bias + product_bytes(self.case, rows[0])
        if self.epilogue.gated:
            return bias + product_bytes(self.case)
        return bias + sum(product_bytes(replace(self.case, out_features=count), row)
                          for count, row in zip(self.parts.values(), rows, strict=True))

    def flops_per_token(self, context_len: int) -> int:
        return 2 * self.case.in_features * self.case.out_features


def linear_case(context: LayerContext, in_features: int, out_features: int, *, gated: bool = False,
                is_table: bool = False) -> LinearCase:
    """The case of a matrix of a layer in a context."""
    return LinearCase(device=context.device, dtype=context.dtype, in_features=in_features, out_features=out_features,
                      isa=context.isa, gated=gated, is_table=is_table, quantization=context.quantization,
                      activation_dtype=context.activation_dtype, nodes=context.nodes)


def with_codes(weight: Tensor, codes: Sequence[QuantizedWeight | None],
               rows: Iterable[int]) -> Tensor | QuantizedWeight | list[Tensor | QuantizedWeight]:
    """A loaded matrix: the floats of `weight`, or codes for all rows, or a list of floats and codes by part.

    codes: of each part, None for numbers; rows: of each part.
    """
    if not any(codes):
        return weight
    pieces = [part if code is None else code for part, code in zip(weight.split(list(rows)), codes, strict=True)]
    return stacked(pieces) or pieces


def shape_only(weight: Tensor) -> nn.Parameter:
    """A parameter without memory that keeps the shape and dtype of one whose memory a kernel took."""
    return nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype, device="meta"), requires_grad=False)

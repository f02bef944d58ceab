"""`PerHead`: one matrix for each attention head, as latent attention has them between its latents and its heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from weft.layers.context import LayerContext
from weft.layers.layer import Home, Layer
from weft.layers.linear import linear_case, shape_only
from weft.layers.shard import Span
from weft.ops.linear import Epilogue, Product, choose_linear, product_bytes
from weft.ops.quantized import QuantizedWeight


class PerHead(Layer):
    """out[:, h] = x[:, h] @ weight[h].T, or x[:, h] @ weight[h] where it is `transposed`.

    part: name of the home, whose matrix is [H * rows, columns], head after head. heads: those that are built.
    The matrices stay floats of the model's dtype: a transposed one cannot keep codes (quantized values) of its rows.
    """

    def __init__(self, part: str, heads: Span, rows: int, columns: int, *, transposed: bool,
                 context: LayerContext) -> None:
        super().__init__()
        self.part, self.rows, self.shape = part, heads.times(rows), (len(heads), rows, columns)
        self.transposed = transposed
        sizes = (rows, columns) if transposed else (columns, rows)
        self.case = linear_case(replace(context.exact(), nodes=None), *sizes)
        self.choice = choose_linear(self.case)
        self.weight = self.parameter(len(self.rows), columns, context=context)
        self.products: list[Product] = []

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        """x [T, H, K] -> out [T, H, N], which is returned. The numbers of one head of a token lie together."""
        for head, product in enumerate(self.products):
            mine = out[:, head]
            result = product(x[:, head], None, 1.0, mine)
            if result is not mine:
                mine.copy_(result)
        return out

    def finish_loading(self) -> None:
        """Give each head's matrix to the kernel, in memory of its own: a kernel may pad and pack a matrix in place."""
        matrices = (matrix.t() if self.transposed else matrix for matrix in self.weight.data.view(self.shape))
        epilogue = Epilogue(out_dtype=self.case.dtype)
        self.products = [self.choice.prepare(matrix.clone(memory_format=torch.contiguous_format), None, epilogue)
                         for matrix in matrices]
        self.weight = shape_only(self.weight)

    def own_homes(self) -> dict[str, Home]:
        """As Layer: the rows of all heads."""
        name = f"{self.part}.weight"
        return {name: Home(self.weight.data, self, name, self.rows)}

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer. Native kernels pad each head's matrix."""
        if self.choice.name != "native":
            return self.weight.numel() * self.case.dtype.itemsize
        return self.shape[0] * product_bytes(self.case)

    def flops_per_token(self, context_len: int) -> int:
        return 2 * self.weight.numel()

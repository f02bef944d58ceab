"""The definition of linear layers, of floats and of integers, and of their epilogue, in torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.ops.activation import activation
from weft.ops.linear.product import Epilogue, rows_of_parts
from weft.ops.quantized import QuantizedWeight

BLOCK = 32                     # columns of x in 8 bits that share a scale; X_BLOCK of csrc/byte_rows.h
_EXACT = 1024                  # float32 holds sums of this many products of at most 127 * 128 exactly (2 ** 24)


class TorchProduct:
    """A Product on the unpacked weight, [N, K] in the model's dtype; bias [N] or None."""

    def __init__(self, weight: Tensor, bias: Tensor | None, epilogue: Epilogue) -> None:
        self.weight, self.bias, self.epilogue = weight, bias, epilogue
        self.act = activation(epilogue.act) if epilogue.act is not None else None

    def __call__(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0,
                 out: Tensor | None = None) -> Tensor:
        """As Product."""
        result = finished(self.multiply(x), self.act, self.epilogue)
        return result if residual is None else residual.add_(result, alpha=alpha)

    def multiply(self, x: Tensor) -> Tensor:
        """x [T, K] -> x @ weight.T + bias, [T, N]."""
        return F.linear(x, self.weight, self.bias)

    def rows(self, ids: Tensor) -> Tensor:
        """As Product."""
        return F.embedding(ids, self.weight)


class IntegerProduct(TorchProduct):
    """A Product of integers: x in 8 bits with a scale for each row, on a QuantizedWeight with int8_activations.

    out = float(codes(x) @ (codes - 128).T) * scale(x) * scales + bias in float32, where scale(x) = max |x| / 127 and
    codes(x) = x / scale(x) to nearest, ties to even. A row that holds NaN or an infinity becomes NaN.
    Source: arXiv:2211.10438 section 3, per-token activations and per-channel weights.
    """

    def __init__(self, weight: QuantizedWeight, bias: Tensor | None, epilogue: Epilogue) -> None:
        super().__init__((weight.codes ^ 128).view(torch.int8), None if bias is None else bias.float(), epilogue)
        self.scales = weight.scales.float().flatten()

    def multiply(self, x: Tensor) -> Tensor:
        """As TorchProduct, in float32. Sums of codes are exact: of _EXACT columns in float32, of all in float64."""
        codes, scale = quantized_rows(x.float())
        total = torch.zeros(x.shape[0], self.weight.shape[0], dtype=torch.float64)
        for mine, theirs in zip(codes.split(_EXACT, dim=1), self.weight.split(_EXACT, dim=1), strict=True):
            total += mine @ theirs.float().T
        result = total.float() * scale * self.scales
        return result if self.bias is None else result + self.bias

    def rows(self, ids: Tensor) -> Tensor:
        """As Product, in the epilogue's out_dtype."""
        return (self.weight[ids].float() * self.scales[ids].unsqueeze(-1)).to(self.epilogue.out_dtype)


class BlockProduct(TorchProduct):
    """A Product of a QuantizedWeight and x in 8 bits with a scale for each block of BLOCK columns.

    x becomes codes(x) * scale(x), block by block as `quantized_rows` does; a block that holds NaN or an infinity makes
    the results of its row NaN. The product is that of float32 numbers; kernels multiply integers block by block.
    Source of the method: the products of quantized weights in llama.cpp, which quantize x so (its format Q8_0).
    """

    def __init__(self, weight: QuantizedWeight, bias: Tensor | None, epilogue: Epilogue) -> None:
        super().__init__(weight.dequantize(torch.float32), None if bias is None else bias.float(), epilogue)

    def multiply(self, x: Tensor) -> Tensor:
        """As TorchProduct, in float32."""
        codes, scale = quantized_rows(x.float().reshape(-1, BLOCK))
        return F.linear((codes * scale).view(x.shape), self.weight, self.bias)

    def rows(self, ids: Tensor) -> Tensor:
        """As Product, in the epilogue's out_dtype."""
        return self.weight[ids].to(self.epilogue.out_dtype)


def quantized_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize the rows of x [T, K] float32 to 8 bits.

    Returns (codes [T, K] float32, integers from -127 to 127; scales [T, 1], NaN for a row that is not finite).
    """
    is_finite = x.isfinite().all(dim=-1, keepdim=True)
    x = x.where(is_finite, 0.0)
    scale = x.abs().amax(dim=-1, keepdim=True) / 127
    codes = (x / scale.where(scale != 0, 1.0)).clamp(-127, 127).round()
    return codes, scale.where(is_finite, torch.nan)


class TorchParts(TorchProduct):
    """A Product of several parts of one layer, side by side, because they are stored in different formats."""

    def __init__(self, parts: Sequence[TorchProduct], epilogue: Epilogue) -> None:
        super().__init__(parts[0].weight, None, epilogue)
        self._parts, self._ends = parts, list(accumulate(len(part.weight) for part in parts))

    def multiply(self, x: Tensor) -> Tensor:
        """As TorchProduct, in the widest dtype of the parts' products."""
        return torch.cat([part.multiply(x) for part in self._parts], dim=-1)

    def rows(self, ids: Tensor) -> Tensor:
        """As Product."""
        return rows_of_parts(self._parts, self._ends, ids)


def finished(product: Tensor, act, epilogue: Epilogue) -> Tensor:
    """Apply an epilogue to a product [T, N]. act: the activation function, or None."""
    if epilogue.gated:
        gate, up = product.chunk(2, dim=-1)
        product = act(gate).mul_(up)
    elif act is not None:
        product = act(product)
    return product if product.dtype == epilogue.out_dtype else product.to(epilogue.out_dtype)

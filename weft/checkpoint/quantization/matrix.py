"""Decoded groups of stored tensors: `QuantizedMatrix` (integer codes) and `ScaledMatrix` (small floats).

Both dequantize to a given dtype, computing in float32 a few rows at a time. Knows no format and no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from weft.checkpoint.quantization.bits import nibbles
from weft.ops.quantized import QuantizedWeight

_PIECE_VALUES = 1 << 22        # number of values dequantized at a time


class Matrix(Protocol):
    """A weight in its stored form."""

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """The weight as floats, in the shape of its `Layout`."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class QuantizedMatrix:
    """w[n, columns[k]] = scales[n, g] * (codes[n, k] - zeros[n, g]), where g = k // group_size.

    codes: [N, K] uint8, below 2 ** bits; scales: [N, K / group_size] floats; zeros: the same shape, uint8.
    columns: [K] int64, or None for the natural order 0 … K - 1. A product with reordered codes takes x[:, columns];
    GPTQ's act-order, where columns of a group need not be adjacent, makes such matrices. int8_activations: as in
    QuantizedWeight.
    """

    codes: Tensor
    bits: int
    group_size: int
    scales: Tensor
    zeros: Tensor
    columns: Tensor | None = None
    int8_activations: bool = False

    def packable(self) -> QuantizedWeight:
        """The matrix in the form that kernels pack, with columns in the order of the codes.

        Equal zero points become one `zero`. Different ones become offsets, which are exact for 16-bit scales.
        """
        zero = int(self.zeros[0, 0])
        same = bool((self.zeros == zero).all())
        return QuantizedWeight(
            codes=self.codes.contiguous(), bits=max(self.bits, 4), zero=zero if same else 0,
            group_size=self.group_size, scales=self.scales.contiguous(),
            offsets=None if same else -self.zeros.float() * self.scales.float(), int8_activations=self.int8_activations)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """The weight, [N, K]."""
        out = torch.empty(self.codes.shape, dtype=dtype)
        for rows in _pieces(*self.codes.shape):
            codes = self.codes[rows].unflatten(1, (-1, self.group_size)).float()
            values = (codes - self.zeros[rows].unsqueeze(-1)) * self.scales[rows].float().unsqueeze(-1)
            out[rows, slice(None) if self.columns is None else self.columns] = values.flatten(1).to(dtype)
        return out


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ScaledMatrix:
    """w[n, k] = value(codes[n, k]) * scales[n // block[0], k // block[1]].

    codes: [N, K] floats, the values; with a table [N, K / 2] uint8, two indices in a byte, low nibble first.
    scales: [ceil(N / block[0]), ceil(K / block[1])] float32. table: [16] float32.
    shape: the weight's shape: [N, K], or [..., K] with N rows in all.
    """

    codes: Tensor
    scales: Tensor
    block: tuple[int, int]
    shape: tuple[int, ...]
    table: Tensor | None = None

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """The weight, in `shape`."""
        num_rows, num_columns = self.codes.shape[0], self.shape[-1]
        high, wide = self.block
        out = torch.empty(num_rows, num_columns, dtype=dtype)
        for rows in _pieces(num_rows, num_columns):
            codes = self.codes[rows]
            values = codes.float() if self.table is None else self.table[nibbles(codes).long()]
            numbers = torch.arange(rows.start, rows.stop) // high
            scales = self.scales[numbers].repeat_interleave(min(wide, num_columns), dim=1)[:, :num_columns]
            out[rows] = (values * scales).to(dtype)
        return out.view(self.shape)


def powers_of_two(exponents: Tensor) -> Tensor:
    """Scales 2 ** (byte - 127), float32, from E8M0 bytes (uint8 or torch.float8_e8m0fnu)."""
    return torch.ldexp(torch.ones(exponents.shape), exponents.view(torch.uint8).int() - 127)


def _pieces(num_rows: int, num_columns: int) -> Iterator[slice]:
    step = max(1, _PIECE_VALUES // max(1, num_columns))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))

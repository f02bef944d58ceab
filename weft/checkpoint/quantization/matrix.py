"""What a group of stored tensors decodes to: `QuantizedMatrix` (integer codes) or `ScaledMatrix` (small floats).

Both give their values in a dtype of choice, computed in float32 a few rows at a time. Knows no format and no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from weft.checkpoint.quantization.bits import nibbles
from weft.ops.quantized import QuantizedWeight

_PIECE_VALUES = 1 << 22        # values computed at a time


class Matrix(Protocol):
    """A weight in its stored form."""

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """The weight itself, in the shape of its `Layout`."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class QuantizedMatrix:
    """w[n, columns[k]] = scales[n, g] * (codes[n, k] - zeros[n, g]), where g = k // group_size.

    codes: [N, K] uint8, below 2 ** bits; scales: [N, K / group_size] floats; zeros: of the same shape, uint8.
    columns: [K] int64, None: 0, 1 ... K - 1. A product with the codes takes x[:, columns]. GPTQ's act-order makes such
    matrices: columns of a group lie apart. int8_activations: as QuantizedWeight's.
    """

    codes: Tensor
    bits: int
    group_size: int
    scales: Tensor
    zeros: Tensor
    columns: Tensor | None = None
    int8_activations: bool = False

    def packable(self) -> QuantizedWeight:
        """The matrix, its columns in the order of the codes, in the form that kernels pack.

        One zero where all are the same, else offsets, which are exact for scales of 16 bits.
        """
        zero = int(self.zeros[0, 0])
        same = bool((self.zeros == zero).all())
        return QuantizedWeight(
            codes=self.codes.contiguous(), bits=max(self.bits, 4), zero=zero if same else 0,
            group_size=self.group_size, scales=self.scales.contiguous(),
            offsets=None if same else -self.zeros.float() * self.scales.float(), int8_activations=self.int8_activations)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """[N, K]."""
        out = torch.empty(self.codes.shape, dtype=dtype)
        for rows in _pieces(*self.codes.shape):
            codes = self.codes[rows].unflatten(1, (-1, self.group_size)).float()
            values = (codes - self.zeros[rows].unsqueeze(-1)) * self.scales[rows].float().unsqueeze(-1)
            out[rows, slice(None) if self.columns is None else self.columns] = values.flatten(1).to(dtype)
        return out


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ScaledMatrix:
    """w[n, k] = value(codes[n, k]) * scales[n // block[0], k // block[1]].

    codes: [N, K] floats, the values; with a table [N, K / 2] uint8, two indices in a byte, low first.
    scales: [ceil(N / block[0]), ceil(K / block[1])] float32. table: [16] float32.
    shape: of the weight: [N, K], or more dimensions of as many rows.
    """

    codes: Tensor
    scales: Tensor
    block: tuple[int, int]
    shape: tuple[int, ...]
    table: Tensor | None = None

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """`shape`."""
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
    """float32 scales of E8M0 bytes (uint8, or the float dtype of that name): 2 ** (byte - 127)."""
    return torch.ldexp(torch.ones(exponents.shape), exponents.view(torch.uint8).int() - 127)


def _pieces(num_rows: int, num_columns: int) -> Iterator[slice]:
    step = max(1, _PIECE_VALUES // max(1, num_columns))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))

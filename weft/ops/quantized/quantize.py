"""Quantizes a matrix at load: to 8 bits with a scale for each row, or to 4 bits with a scale for each 64 columns.

int8 and w8a8 make the same matrix; products of w8a8 quantize x to 8 bits too, those of int8 and int4 take x as floats.
Codes are rounded to nearest. With 4 bits, the scale maps a group's number of largest magnitude, with its sign, to -8,
so that all 16 codes are used (as in GGUF's Q4_0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.quantized.weight import QuantizedWeight

METHODS = ("int8", "int4", "w8a8")
INT4_GROUP = 64
_ROWS = 1024                   # rows that are copied to float32 at a time


def group_size(method: str, columns: int) -> int:
    """Columns that share a scale: for int4 the largest of 64, 32 and 16 that divides `columns`, else the whole row."""
    if method != "int4":
        return columns
    return next((g for g in (INT4_GROUP, 32, 16) if columns % g == 0), columns)


def weight_only(method: str | None) -> str | None:
    """The method that makes the same matrix for products with floats (tables, heads and experts): int8 for w8a8."""
    return "int8" if method == "w8a8" else method


def quantize(weight: Tensor, method: str) -> QuantizedWeight:
    """Quantize a weight, [N, K] floats. method: one of METHODS."""
    rows, columns = weight.shape
    size, bits = group_size(method, columns), 4 if method == "int4" else 8
    codes = torch.empty(rows, columns, dtype=torch.uint8)
    scales = torch.empty(rows, columns // size, dtype=torch.float32 if bits == 8 else torch.float16)
    for start in range(0, rows, _ROWS):
        part = slice(start, start + _ROWS)
        groups = weight[part].to(torch.float32, copy=True).view(-1, columns // size, size)
        _quantize(groups, bits, codes[part].view(groups.shape), scales[part])
    return QuantizedWeight(codes=codes, bits=bits, zero=1 << bits - 1, group_size=size, scales=scales,
                           int8_activations=method == "w8a8")


def _quantize(groups: Tensor, bits: int, codes: Tensor, scales: Tensor) -> None:
    """Fill codes [n, G, size] and scales [n, G] from groups [n, G, size] float32, which are overwritten."""
    if bits == 8:
        scales.copy_(groups.abs().amax(-1) / 127)
    else:
        low, high = groups.amin(-1), groups.amax(-1)      # torch's aminmax takes ten times as long
        scales.copy_(torch.where(high > -low, high, low) / -8)
    divisors = scales.float().unsqueeze(-1)
    groups.div_(torch.where(divisors == 0, 1.0, divisors))
    zero = 1 << bits - 1
    codes.copy_(groups.round_().add_(zero).clamp_(0, 2 * zero - 1))

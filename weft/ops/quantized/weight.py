"""`QuantizedWeight`: a matrix as integer codes (quantized values) with a scale for each group of columns.

Checkpoint formats (GPTQ, AWQ, compressed-tensors, GGUF ...) and quantization at load produce it; kernels pack it. The
module knows no file and no kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class QuantizedWeight:
    """w[n, k] = scale(n, g) * (codes[n, k] - zero) + offset(n, g), where g = k // group_size.

    codes: [N, K] uint8, each below 2 ** bits; bits: 4, 5, 6 or 8.
    zero: the code that means 0 without an offset: 8 for symmetric 4-bit codes, 128 for 8-bit codes, 0 with offsets.
    group_size: columns that share a scale, a divisor of K (K: one scale for each row).
    scales, offsets: [N, K / group_size]. Floats are the scales and offsets themselves (offsets None: 0). Integers are
        multiplied by super_scales and super_offsets, [N, K / super_size] floats, as in GGUF's K-quants.
    int8_activations: products are in integers, with x quantized to 8 bits row by row (w8a8, ops/linear/reference.py).
        The codes must have 8 bits, the zero 128 and one scale for each row.
    """

    codes: Tensor
    bits: int
    zero: int
    group_size: int
    scales: Tensor
    offsets: Tensor | None = None
    super_scales: Tensor | None = None
    super_offsets: Tensor | None = None
    int8_activations: bool = False

    def __post_init__(self) -> None:
        if self.codes.dtype != torch.uint8 or self.codes.dim() != 2:
            raise ValueError(f"codes: {self.codes.dtype} {list(self.codes.shape)}, expected uint8 [N, K]")
        if self.bits not in (4, 5, 6, 8) or not 0 <= self.zero < 2 ** self.bits:
            raise ValueError(f"bits = {self.bits}, zero = {self.zero}: "
                             "expected 4, 5, 6 or 8 bits and a zero among the codes")
        rows, columns = self.codes.shape
        if self.group_size < 1 or columns % self.group_size:
            raise ValueError(f"group_size = {self.group_size}: does not divide {columns} columns")
        for name in ("scales", "offsets"):
            values, factors = getattr(self, name), getattr(self, f"super_{name}")
            if values is None:
                continue
            if values.shape != (rows, columns // self.group_size):
                raise ValueError(f"{name}: {list(values.shape)}, expected {[rows, columns // self.group_size]}")
            if values.is_floating_point() != (factors is None):
                raise ValueError(f"{name}: {values.dtype}, expected floats, or integers with super_{name}")
            if factors is not None and (factors.shape[0] != rows or values.shape[1] % factors.shape[1]):
                raise ValueError(f"super_{name}: {list(factors.shape)}, expected rows {rows} and a divisor of "
                                 f"{values.shape[1]} columns")
        if self.int8_activations and not self._is_integer_matrix():
            raise ValueError(f"int8_activations: {self.bits} bits, zero = {self.zero}, group_size = {self.group_size}, "
                             f"scales {self.scales.dtype}: expected 8 bits around 128, a float scale for each row")

    def _is_integer_matrix(self) -> bool:
        return ((self.bits, self.zero, self.group_size, self.offsets, self.super_scales)
                == (8, 128, self.shape[1], None, None))

    @property
    def shape(self) -> torch.Size:
        """[N, K] of the matrix."""
        return self.codes.shape

    @property
    def format(self) -> tuple:
        """Everything except the values and the number of rows; matrices of equal formats can be stacked."""
        tensors = (self.scales, self.offsets, self.super_scales, self.super_offsets)
        return (self.bits, self.zero, self.group_size, self.shape[1], self.int8_activations,
                *(None if t is None else (t.dtype, t.shape[1]) for t in tensors))

    def weight_only(self) -> QuantizedWeight:
        """The same matrix for products with floats: without int8_activations."""
        return replace(self, int8_activations=False)

    def rows(self, index: Tensor) -> QuantizedWeight:
        """The matrix of these rows, in new tensors. index: [n] int64."""
        fields = ("codes", "scales", "offsets", "super_scales", "super_offsets")
        return replace(self, **{name: value[index] for name in fields if (value := getattr(self, name)) is not None})

    def columns(self, start: int, stop: int) -> QuantizedWeight:
        """The exact matrix of columns start to stop (exclusive), in new tensors.

        Where a cut falls into a group, all groups are divided into smaller ones that the cut does not touch; each
        repeats the scale of its old group.
        """
        columns, cut = self.shape[1], (start, stop)
        size = _cut_size(self.group_size, cut)
        fields = {name: _cut(value, columns, cut, size) for name in ("scales", "offsets")
                  if (value := getattr(self, name)) is not None}
        for name in ("super_scales", "super_offsets"):
            if (value := getattr(self, name)) is not None:
                fields[name] = _cut(value, columns, cut, _cut_size(columns // value.shape[1], cut))
        return replace(self, codes=self.codes[:, start:stop].contiguous(), group_size=size, **fields)

    def group_scales(self) -> Tensor:
        """scale(n, g), [N, K / group_size] float32."""
        return _expanded(self.scales, self.super_scales)

    def group_offsets(self) -> Tensor | None:
        """offset(n, g), [N, K / group_size] float32; None without offsets."""
        return None if self.offsets is None else _expanded(self.offsets, self.super_offsets)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The numbers of the matrix, [N, K], computed in float32 and rounded to dtype."""
        rows, columns = self.shape
        values = (self.codes.float() - self.zero).view(rows, -1, self.group_size) * self.group_scales().unsqueeze(-1)
        offsets = self.group_offsets()
        if offsets is not None:
            values += offsets.unsqueeze(-1)
        return values.view(rows, columns).to(dtype)


def stacked(weights: Sequence[QuantizedWeight | Tensor]) -> QuantizedWeight | None:
    """Stack matrices by rows into one; None unless all are quantized in one format."""
    first = weights[0]
    if not isinstance(first, QuantizedWeight):
        return None
    if not all(isinstance(w, QuantizedWeight) and w.format == first.format for w in weights):
        return None
    fields = ("codes", "scales", "offsets", "super_scales", "super_offsets")
    return replace(first, **{name: torch.cat([getattr(w, name) for w in weights])
                             for name in fields if getattr(first, name) is not None})


def _cut_size(size: int, cut: tuple[int, int]) -> int:
    """Group size after groups of `size` columns are cut at two columns (start, stop)."""
    start, stop = cut
    return stop - start if start // size == (stop - 1) // size else gcd(size, start, stop)


def _cut(values: Tensor, columns: int, cut: tuple[int, int], size: int) -> Tensor:
    """Values [N, groups] of a matrix of `columns` columns -> values of the groups of `size` columns within a cut."""
    firsts = torch.arange(*cut, size)                         # the first column of each new group
    return values[:, firsts // (columns // values.shape[1])]


def _expanded(values: Tensor, factors: Tensor | None) -> Tensor:
    if factors is None:
        return values.float()
    return values.float() * factors.float().repeat_interleave(values.shape[1] // factors.shape[1], dim=1)

"""`QuantizedWeight`: a matrix as integer codes with a scale for each group of columns.

Checkpoint formats (GPTQ, AWQ, compressed-tensors, GGUF ...) are read into it, quantizing at load makes it, kernels pack
it. Knows no file and no kernel.
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
    zero: the code of 0 where there is no offset: 8 for symmetric 4-bit codes, 128 for 8-bit ones, 0 with offsets.
    group_size: columns that share a scale, a divisor of K (K: one scale for a row).
    scales, offsets: [N, K / group_size]. Floats are the scale and the offset themselves (offsets None: 0). Integers are
        multiplied by super_scales and super_offsets, [N, K / super_size] float, as in GGUF's K-quants.
    int8_activations: products are in integers, x in 8 bits with a scale for each row (ops/linear/reference.py). Only of
        8-bit codes around 128 with one scale for a row.
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
        """All but the numbers: matrices of equal formats can be stacked."""
        tensors = (self.scales, self.offsets, self.super_scales, self.super_offsets)
        return (self.bits, self.zero, self.group_size, self.shape[1], self.int8_activations,
                *(None if t is None else (t.dtype, t.shape[1]) for t in tensors))

    def weight_only(self) -> QuantizedWeight:
        """The matrix, its products with floats."""
        return replace(self, int8_activations=False)

    def rows(self, index: Tensor) -> QuantizedWeight:
        """The matrix of these rows, index [n] int64; all of its tensors are new."""
        fields = ("codes", "scales", "offsets", "super_scales", "super_offsets")
        return replace(self, **{name: value[index] for name in fields if (value := getattr(self, name)) is not None})

    def columns(self, start: int, stop: int) -> QuantizedWeight:
        """The matrix of columns start to stop (exclusive), exactly; all of its tensors are new.

        Where a cut falls into a group, groups become as small as the cut wants, their scales repeated.
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
        """[N, K / group_size] float32: scale(n, g)."""
        return _expanded(self.scales, self.super_scales)

    def group_offsets(self) -> Tensor | None:
        """[N, K / group_size] float32: offset(n, g); None: no offsets."""
        return None if self.offsets is None else _expanded(self.offsets, self.super_offsets)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """[N, K]: the matrix itself, computed in float32."""
        rows, columns = self.shape
        values = (self.codes.float() - self.zero).view(rows, -1, self.group_size) * self.group_scales().unsqueeze(-1)
        offsets = self.group_offsets()
        if offsets is not None:
            values += offsets.unsqueeze(-1)
        return values.view(rows, columns).to(dtype)


def stacked(weights: Sequence[QuantizedWeight | Tensor]) -> QuantizedWeight | None:
    """Matrices one below another as one, or None when they are not all codes of one format."""
    first = weights[0]
    if not isinstance(first, QuantizedWeight):
        return None
    if not all(isinstance(w, QuantizedWeight) and w.format == first.format for w in weights):
        return None
    fields = ("codes", "scales", "offsets", "super_scales", "super_offsets")
    return replace(first, **{name: torch.cat([getattr(w, name) for w in weights])
                             for name in fields if getattr(first, name) is not None})


def _cut_size(size: int, cut: tuple[int, int]) -> int:
    """Columns of a group once groups of `size` columns are cut at two columns."""
    start, stop = cut
    return stop - start if start // size == (stop - 1) // size else gcd(size, start, stop)


def _cut(values: Tensor, columns: int, cut: tuple[int, int], size: int) -> Tensor:
    """Values of the groups of so many columns, as values of groups of `size` columns between two columns."""
    firsts = torch.arange(*cut, size)                         # the first column of each new group
    return values[:, firsts // (columns // values.shape[1])]


def _expanded(values: Tensor, factors: Tensor | None) -> Tensor:
    if factors is None:
        return values.float()
    return values.float() * factors.float().repeat_interleave(values.shape[1] // factors.shape[1], dim=1)

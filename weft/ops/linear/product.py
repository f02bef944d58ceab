"""`Product`: a loaded weight as a linear kernel prepares it, to be multiplied with x and read by rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Epilogue:
    """The operations that follow the product in the same pass.

    act: a name of ops/activation, or None. gated: the result is act(first half of the columns) * second half.
    out_dtype: dtype of the result.
    """

    act: str | None = None
    gated: bool = False
    out_dtype: torch.dtype


class Product(Protocol):
    """x @ weight.T + bias, then the epilogue."""

    def __call__(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0,
                 out: Tensor | None = None) -> Tensor:
        """x [T, K] -> [T, N] (gated: [T, N / 2]).

        residual: shaped as the result; residual += alpha * result in place, and it is returned.
        out: memory that may be used for the result if there is no residual.
        """
        ...

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of the weight by ids [T] int64, -> [T, K] in the model's dtype."""
        ...


def rows_of_parts(products: Sequence[Product], ends: Sequence[int], ids: Tensor) -> Tensor:
    """Rows by ids of a weight whose rows are divided among several products. ends: the row after each one's last."""
    found = []
    for product, start, end in zip(products, (0, *ends), ends, strict=False):
        at = ((ids >= start) & (ids < end)).nonzero().flatten()
        found.append((at, product.rows(ids[at] - start)))
    out = found[0][1].new_empty(len(ids), found[0][1].shape[1])
    for at, rows in found:
        out[at] = rows
    return out

"""What a linear kernel makes of a loaded weight: something to call with x, and to read rows of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Epilogue:
    """What follows the product in the same pass.

    act: a name of ops/activation, or None. gated: the first half of the columns passes `act` and multiplies the second.
    out_dtype: of the result.
    """

    act: str | None = None
    gated: bool = False
    out_dtype: torch.dtype


class Product(Protocol):
    """x @ weight.T + bias, then the epilogue."""

    def __call__(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0,
                 out: Tensor | None = None) -> Tensor:
        """[T, K] -> [T, N] (gated: N / 2).

        residual: [T, N], to which alpha times the result is added in place; then it is what is returned.
        out: where the result may be written, if there is no residual; it need not be used.
        """
        ...

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of the weight in the model's dtype, [T, K], by ids [T] int64."""
        ...

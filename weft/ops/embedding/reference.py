"""The definition of a token table's rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.ops.linear.product import Product


class ReferenceRows:
    """table[ids] * scale: the scale is rounded to the dtype before, the product after, as in published code."""

    def __init__(self, dtype: torch.dtype, table: Tensor | Product, scale: float = 1.0) -> None:
        self.table, self.scale = table, torch.tensor(scale, dtype=dtype)

    def __call__(self, ids: Tensor) -> Tensor:
        """ids [T] int64 -> [T, E], newly allocated (not a scratch buffer). IndexError for an id that is no row."""
        rows = F.embedding(ids, self.table) if isinstance(self.table, Tensor) else self.table.rows(ids)
        return rows if self.scale == 1 else rows * self.scale

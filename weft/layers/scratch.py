"""Memory for what a layer hands to the next: one buffer for each role, reused by every layer and every step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Scratch:
    """Buffers by role ("qkv", "mlp" ...). The next `take` of the same role overwrites the buffer.

    min_rows: of each buffer; one that is asked for no more rows never moves.
    """

    def __init__(self, min_rows: int = 0) -> None:
        self._min_rows = min_rows
        self._buffers: dict[tuple[str, int, torch.dtype], Tensor] = {}
        self._views: dict[tuple[str, int, torch.dtype], Tensor] = {}

    def take(self, role: str, rows: int, width: int, dtype: torch.dtype) -> Tensor:
        """[rows, width], contiguous, of any content."""
        key = (role, width, dtype)
        view = self._views.get(key)
        if view is not None and view.shape[0] == rows:
            return view
        buffer = self._buffers.get(key)
        if buffer is None or buffer.shape[0] < rows:
            buffer = self._buffers[key] = torch.empty(max(rows, self._min_rows), width, dtype=dtype)
        view = self._views[key] = buffer[:rows]
        return view

    @contextmanager
    def lent(self, other: Scratch) -> Iterator[None]:
        """Inside the block, hand out the buffers of the other Scratch."""
        mine = dict(vars(self))
        vars(self).update(vars(other))
        try:
            yield
        finally:
            vars(self).update(mine)

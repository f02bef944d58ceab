"""Memory for what a layer hands to the next: one buffer for each role, used again by every layer and every step."""

from __future__ import annotations

import torch
from torch import Tensor


class Scratch:
    """Buffers by role ("qkv", "mlp" ...). What `take` returns is overwritten by the next call with the same role."""

    def __init__(self) -> None:
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
            buffer = self._buffers[key] = torch.empty(rows, width, dtype=dtype)
        view = self._views[key] = buffer[:rows]
        return view

"""`Arena`: memory that a recording's tensors take in turns, as they took the heap's when the calls were made.

Replayed calls write to the addresses of the recorded ones. Keeping all tensors alive would keep these addresses, at the
price of every layer's results. Here a tensor that dies while its step is recorded leaves its memory to the next tensor:
a replay makes the calls in the same order, so the same turns are safe.
"""

from __future__ import annotations

import weakref

import numpy as np
import torch
from torch import Tensor


class Arena:
    """Chunks of memory, each used by one tensor (and its views) at a time. They live as long as the arena."""

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []
        self.num_bytes = 0

    def empty_like(self, x: Tensor) -> Tensor:
        """Memory of x's size, strides and dtype and of any content. x: newly allocated, on the CPU."""
        size = x.untyped_storage().nbytes()
        fitting = [chunk for chunk in self._free if len(chunk) >= size]
        if fitting:
            chunk = min(fitting, key=len)
            self._free = [other for other in self._free if other is not chunk]
        else:
            chunk = torch.empty(size, dtype=torch.uint8).numpy()          # aligned as torch aligns
            self.num_bytes += size
        part = chunk[:size]
        weakref.finalize(part, self._give_back, chunk)                    # torch holds `part` while a tensor needs it
        return torch.from_numpy(part).view(x.dtype).as_strided(x.size(), x.stride())

    def _give_back(self, chunk: np.ndarray) -> None:
        self._free.append(chunk)

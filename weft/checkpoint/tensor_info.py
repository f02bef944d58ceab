"""`TensorInfo`: what a checkpoint's headers say about a tensor before it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of a checkpoint and the file it is in.

    dtype: the dtype after reading. quantization, stored_bytes: the quantized format it is stored in, and its bytes in
    the file; None: it is stored in `dtype`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    file: Path
    quantization: str | None = None
    stored_bytes: int | None = None

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def dtype_name(self) -> str:
        """The stored format in words: the quantization, or the dtype."""
        return self.quantization or str(self.dtype).removeprefix("torch.")

"""`TensorInfo`: what is known of a tensor before it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of a checkpoint and the file it is in.

    dtype: as it is read. quantization: the format of few bits that it is stored in, and stored_bytes its size there.
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
        """How its numbers are stored."""
        return self.quantization or str(self.dtype).removeprefix("torch.")

"""Converts torch tensors to and from `WireTensor`, their form in messages between processes."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.engine.process.messages import WireTensor


def to_wire(tensor: Tensor) -> WireTensor:
    """A copy of the tensor as plain bytes."""
    data = tensor.detach().cpu().contiguous()
    return WireTensor(dtype=str(data.dtype).removeprefix("torch."), shape=list(data.shape),
                      data=data.flatten().view(torch.uint8).numpy().tobytes())


def from_wire(wire: WireTensor) -> Tensor:
    """The tensor, in newly allocated memory."""
    dtype = getattr(torch, wire.dtype)
    if not wire.data:
        return torch.empty(wire.shape, dtype=dtype)
    return torch.frombuffer(bytearray(wire.data), dtype=dtype).view(wire.shape)


def rows_from_wire(wire: WireTensor, start: int, end: int) -> Tensor:
    """Rows `start` to `end` - 1 in newly allocated memory; fewer if the tensor ends earlier. `start` must be in it."""
    data = bytearray(wire.row_bytes(start, end))
    return torch.frombuffer(data, dtype=getattr(torch, wire.dtype)).view(-1, *wire.shape[1:])

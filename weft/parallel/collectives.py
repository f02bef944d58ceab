"""Sums, concatenations and messages between processes, over torch.distributed's gloo backend.

Every process of a group makes the same calls in the same order. Floats of 16 bits are summed in float32 and rounded
once. Knows no layer and no model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

_HALVES = (torch.bfloat16, torch.float16)


def all_reduce(x: Tensor, group: ProcessGroup) -> Tensor:
    """The sum of all processes' x, newly allocated, in x's dtype."""
    total = x.float() if x.dtype in _HALVES else x.clone()
    total = total.contiguous()
    dist.all_reduce(total, group=group)
    return total.to(x.dtype)


def all_gather(x: Tensor, dim: int, group: ProcessGroup) -> Tensor:
    """All processes' x, in the order of ranks, along one dimension. x has one shape in all processes."""
    raw = _raw(x.contiguous())
    parts = [torch.empty_like(raw) for _ in range(group.size())]
    dist.all_gather(parts, raw, group=group)
    return torch.cat([part.view(x.dtype).view(x.shape) for part in parts], dim=dim)


def broadcast(x: Tensor, source: int, group: ProcessGroup) -> Tensor:
    """The x of one process, which all others receive. source: its rank in the group."""
    sent = x.contiguous().clone()
    dist.broadcast(_raw(sent), src=dist.get_global_rank(group, source), group=group)
    return sent


def send(x: Tensor, target: int, group: ProcessGroup) -> None:
    """Send x to a process, by its rank in the group."""
    dist.send(_raw(x.contiguous()), dist.get_global_rank(group, target), group)


def receive(shape: Sequence[int], dtype: torch.dtype, source: int, group: ProcessGroup) -> Tensor:
    """A tensor that a process sent, by its rank in the group."""
    x = torch.empty(tuple(shape), dtype=dtype)
    dist.recv(_raw(x), dist.get_global_rank(group, source), group)
    return x


def _raw(x: Tensor) -> Tensor:
    """A contiguous tensor's memory as bytes, because gloo knows no floats of 16 bits."""
    return x.view(-1).view(torch.uint8)

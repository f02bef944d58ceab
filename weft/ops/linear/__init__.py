"""x @ weight.T + bias. torch's own product is both definition and kernel so far."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from weft.ops.kernel import Choice, Kernel, choose, never

__all__ = ["LinearCase", "choose_linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearCase:
    """What decides which linear kernel a layer can run."""

    device: str
    dtype: torch.dtype
    in_features: int
    out_features: int


_KERNELS = (Kernel("torch", F.linear, never),)


def choose_linear(case: LinearCase) -> Choice:
    """Kernel `run(x, weight, bias)`: x [T, in], weight [out, in], bias [out] or None; returns [T, out]."""
    return choose("linear", _KERNELS, case)

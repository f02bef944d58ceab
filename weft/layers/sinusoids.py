"""The table of Sinusoids."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weft.architectures.spec import Sinusoids


def sinusoids(spec: Sinusoids, width: int) -> Tensor:
    """[num_positions + offset, width] float32: sines, then cosines; with an odd width one sine more, or a last zero.

    Computed in float64; with `reaches_last` in float32, as trained models have it, whose sines of large positions
    differ by that.
    """
    rows = spec.num_positions + spec.offset
    if spec.reaches_last:
        half = width // 2
        steps = torch.exp(torch.arange(half).float() * (-math.log(10000) / max(half - 1, 1)))
        angles = torch.arange(rows).float()[:, None] * steps
        return torch.cat([angles.sin(), angles.cos(), torch.zeros(rows, width % 2)], dim=1)
    half = (width + 1) // 2
    angles = torch.arange(rows).double()[:, None] / 10000 ** (2 * torch.arange(half).double() / width)
    return torch.cat([angles.sin(), angles[:, : width // 2].cos()], dim=1).float()

"""Fills a model with random weights, to measure speed without a checkpoint (`load_format=dummy`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SEED = 1234
RANGE = 1e-3


@torch.no_grad()
def fill_dummy(homes: Mapping[str, Tensor]) -> None:
    """Fill every home with uniform values in [-RANGE, RANGE); equal names and shapes give equal values."""
    generator = torch.Generator().manual_seed(SEED)
    for name in sorted(homes):
        homes[name].uniform_(-RANGE, RANGE, generator=generator)

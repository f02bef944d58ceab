"""Random weights in place, for measuring speed without a checkpoint (`load_format=dummy`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SEED = 1234
RANGE = 1e-3


@torch.no_grad()
def fill_dummy(homes: Mapping[str, Tensor]) -> None:
    """Uniform values in [-RANGE, RANGE) in every home, the same each time for the same names and shapes."""
    generator = torch.Generator().manual_seed(SEED)
    for name in sorted(homes):
        homes[name].uniform_(-RANGE, RANGE, generator=generator)

"""`MambaOptions`: the kind of scan, for every kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MambaOptions:
    """by_head: Mamba-2, else Mamba-1. softplus: applied to dt + bias. dt_limits: dt is clamped to these afterwards."""

    by_head: bool
    softplus: bool = True
    dt_limits: tuple[float, float] = (0.0, math.inf)

"""What kind of scan: the same for every kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MambaOptions:
    """by_head: Mamba-2. softplus: dt passes it after its bias. dt_limits: then dt is clamped to them."""

    by_head: bool
    softplus: bool = True
    dt_limits: tuple[float, float] = (0.0, math.inf)

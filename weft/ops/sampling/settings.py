"""The settings and the results of a draw, as arrays over the rows of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

# States of a drawn row: it has a token; it has none, because its logits hold NaN or +inf; none, because all are masked.
GOOD, NO_NUMBERS, EMPTY = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DrawSettings:
    """The settings of each row, arrays [N].

    temperatures: float32; 0 takes the likeliest token (greedy), whatever the other fields say.
    min_ps: float32, 0 for off. top_ps: float32, 1 for off. top_ks: int64, 0 for off.
    numbers: float64 in (0, 1), the random numbers to draw with.
    """

    temperatures: np.ndarray
    min_ps: np.ndarray
    top_ps: np.ndarray
    top_ks: np.ndarray
    numbers: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """tokens: [N] int64. states: [N] uint8, GOOD, NO_NUMBERS or EMPTY; a token counts only if its state is GOOD."""

    tokens: Tensor
    states: Tensor

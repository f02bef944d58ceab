"""What sampling is asked for and what it answers, as arrays over the rows of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

# Why a row has no token: NaN or +inf among its logits; every token masked.
GOOD, NO_NUMBERS, EMPTY = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DrawSettings:
    """[N] each. temperatures: float32, 0 for the likeliest token, which the other fields leave alone.

    min_ps, top_ps: float32, off at 0 and 1. top_ks: int64, off at 0. numbers: float64 in (0, 1), what is drawn with.
    """

    temperatures: np.ndarray
    min_ps: np.ndarray
    top_ps: np.ndarray
    top_ks: np.ndarray
    numbers: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """tokens: [N] int64; states: [N] uint8, whether there is a token. One without means nothing."""

    tokens: Tensor
    states: Tensor

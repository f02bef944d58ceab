"""Counter-based random numbers: a function of (seed, position), so no batch, order or process can change them."""

from __future__ import annotations

import numpy as np

_STEP = np.uint64(0x9E3779B97F4A7C15)          # 2^64 / golden ratio, odd


def uniforms(seeds: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """One number in (0, 1) for each pair (seed, position).

    Args:
        seeds: [N] uint64 (negative seeds wrapped). positions: [N] uint64, the token's place in its sequence.
    Returns:
        [N] float64.
    Source: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), whose number `position` is computed directly.
    """
    with np.errstate(over="ignore"):
        bits = _mix(_mix(seeds + _STEP) + (positions + np.uint64(1)) * _STEP)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0 ** -53


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

"""`NormOptions`: the kind of norm, for every kernel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NormOptions:
    """RMSNorm, or LayerNorm when `centred`.

    eps: added to the variance. offset: added to the stored weight (Gemma and Nemotron store their weights minus one).
    cast_before_weight: the normalised x is rounded to x's dtype before the weight multiplies it (Llama), else after it
        (Gemma).
    """

    centred: bool
    eps: float
    offset: float = 0.0
    cast_before_weight: bool = False

"""What kind of norm: the same for every kernel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NormOptions:
    """RMSNorm, or LayerNorm when `centred`.

    offset: added to the stored weight (Gemma stores it minus one).
    cast_before_weight: x is rounded to its dtype before the weight multiplies it (Llama), or after (Gemma).
    """

    centred: bool
    eps: float
    offset: float = 0.0
    cast_before_weight: bool = False

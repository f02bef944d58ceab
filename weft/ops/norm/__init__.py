"""Norms over the last dimension. `reference.py` is the definition; `fused.py` is torch's one-call form."""

from __future__ import annotations

from dataclasses import dataclass

from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.norm import fused, reference

__all__ = ["NormCase", "choose_layer_norm", "choose_rms_norm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NormCase:
    """What decides which norm kernel a layer can run."""

    device: str
    has_offset: bool = False


def _fused_refuses(case: NormCase) -> str | None:
    return "weights stored minus one" if case.has_offset else None


_RMS = (Kernel("torch", fused.rms_norm, _fused_refuses), Kernel("reference", reference.rms_norm, never))
_LAYER = (Kernel("torch", fused.layer_norm, never), Kernel("reference", reference.layer_norm, never))


def choose_rms_norm(case: NormCase) -> Choice:
    """Kernel `run(x, weight, eps, offset, cast_before_weight)`."""
    return choose("rms_norm", _RMS, case)


def choose_layer_norm(case: NormCase) -> Choice:
    """Kernel `run(x, weight, bias, eps)`."""
    return choose("layer_norm", _LAYER, case)

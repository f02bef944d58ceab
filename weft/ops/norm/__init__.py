"""RMSNorm and LayerNorm: defined in `reference.py`; `cpu.py` is weft's kernel, `fused.py` calls torch's functions.

A kernel's `prepare(weight, bias, options)` returns a function of x, whose `add(x, residual)` adds before it norms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.native import DTYPES, unavailable
from weft.ops.norm import cpu, fused, reference
from weft.ops.norm.options import NormOptions

__all__ = ["NormCase", "NormOptions", "choose_norm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NormCase:
    """The properties that decide which norm kernel a layer can run."""

    device: str
    dtype: torch.dtype
    options: NormOptions
    isa: str = "reference"


def _native_refuses(case: NormCase) -> str | None:
    return unavailable(case.device, case.isa) or (None if case.dtype in DTYPES else f"{case.dtype}")


def _fused_refuses(case: NormCase) -> str | None:
    return "weights stored minus one" if case.options.offset else None


_TORCH = (
    Kernel("torch", refuses=_fused_refuses, prepare=fused.FusedNorm),
    Kernel("reference", refuses=never, prepare=reference.ReferenceNorm),
)


def choose_norm(case: NormCase) -> Choice:
    """The kernel whose `prepare(weight, bias, options)` returns a layer's norm, a function of x."""
    native = Kernel("native", refuses=_native_refuses,
                    prepare=lambda weight, bias, options: cpu.NativeNorm(weight, bias, options, case.dtype, case.isa))
    return choose("norm", (native, *_TORCH), case)

"""Selective state spaces: Mamba-1 (steps and decays for each channel) and Mamba-2 (for each head).

A kernel's `prepare(a, d, dt_bias)` returns a function of x, dt, b, c, states, a ScanPlan and optionally z.
`reference.py` is the definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.mamba import cpu, reference
from weft.ops.mamba.options import MambaOptions
from weft.ops.native import DTYPES, unavailable

__all__ = ["MambaCase", "MambaOptions", "choose_mamba"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MambaCase:
    """The properties that decide which kernel a layer can run."""

    device: str
    dtype: torch.dtype
    state_size: int
    options: MambaOptions
    isa: str = "reference"


def _native_refuses(case: MambaCase) -> str | None:
    reason = unavailable(case.device, case.isa)
    if reason is not None:
        return reason
    if case.dtype not in DTYPES:
        return f"{case.dtype}"
    return None if case.state_size <= cpu.LARGEST_STATE else f"states of {case.state_size} > {cpu.LARGEST_STATE}"


def choose_mamba(case: MambaCase) -> Choice:
    """The kernel whose `prepare(a, d, dt_bias)` returns a layer's scan; d and dt_bias may be None."""
    return choose("mamba", (
        Kernel("native", refuses=_native_refuses, prepare=partial(cpu.NativeMamba, case.options, case.isa)),
        Kernel("reference", refuses=never, prepare=partial(reference.ReferenceMamba, case.options)),
    ), case)

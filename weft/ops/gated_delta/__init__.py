"""The gated delta rule (Gated DeltaNet): linear attention whose state decays and corrects the value it holds for a key.

A kernel runs `run(q, k, v, log_decays, betas, states, plan)`; `decays_and_rates` makes log_decays and betas.
`reference.py` is the definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from weft.ops.gated_delta import cpu, reference
from weft.ops.gated_delta.chunked import gated_delta_chunked
from weft.ops.gated_delta.gates import decays_and_rates
from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.native import DTYPES, unavailable

__all__ = ["GatedDeltaCase", "choose_gated_delta", "decays_and_rates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedDeltaCase:
    """The properties that decide which kernel a layer can run.

    scale: factor on q, usually key_dim ** -0.5. normalises: q and k are brought to length one first. by_dimension:
    there is a decay for each dimension of a key.
    """

    device: str
    dtype: torch.dtype
    key_dim: int
    scale: float
    normalises: bool
    by_dimension: bool = False
    isa: str = "reference"


def _native_refuses(case: GatedDeltaCase) -> str | None:
    reason = unavailable(case.device, case.isa)
    if reason is not None:
        return reason
    if case.dtype not in DTYPES:
        return f"{case.dtype}"
    if case.by_dimension:
        return "a decay for each dimension of a key"
    return None if case.key_dim <= cpu.LARGEST_KEY else f"keys of {case.key_dim} > {cpu.LARGEST_KEY}"


def choose_gated_delta(case: GatedDeltaCase) -> Choice:
    """The kernel of a layer."""
    native = None if _native_refuses(case) else cpu.NativeGatedDelta(case.scale, case.normalises, case.isa)
    return choose("gated_delta", (
        Kernel("native", native, _native_refuses),
        Kernel("chunked", partial(gated_delta_chunked, scale=case.scale, normalises=case.normalises), never),
        Kernel("reference", partial(reference.gated_delta, scale=case.scale, normalises=case.normalises), never),
    ), case)

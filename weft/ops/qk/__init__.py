"""The steps between the projection to q, k and v and attention: norms of q and k, clip, rotation by position (RoPE).

A kernel's `prepare(q_weight, k_weight, q_bias, k_bias)` (no arguments: no norms) returns a function of the fused
qkv and the step's angles, which changes qkv in place. `reference.py` is the definition.
"""

from __future__ import annotations

from functools import partial

from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.native import DTYPES, unavailable
from weft.ops.qk import cpu, reference
from weft.ops.qk.case import QKCase

__all__ = ["QKCase", "choose_qk"]


def _native_refuses(case: QKCase) -> str | None:
    if case.clip is not None and case.norm is not None:
        return "a clip after norms"
    return unavailable(case.device, case.isa) or (None if case.dtype in DTYPES else f"{case.dtype}")


def choose_qk(case: QKCase) -> Choice:
    """The kernel of a layer."""
    return choose("qk", (
        Kernel("native", refuses=_native_refuses, prepare=partial(cpu.NativeQK, case)),
        Kernel("torch", refuses=never, prepare=partial(reference.ReferenceQK, case)),
    ), case)

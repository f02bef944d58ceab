"""Rotary position embedding (RoPE) of q and k that lie apart: `reference.py` is the definition, `cpu.py` weft's kernel.

A kernel runs `run(q, k, angles)` and leaves q and k as they are. Where q, k and v are one tensor, as in described
models, ops/qk rotates in place.
"""

from __future__ import annotations

from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.native import DTYPES, unavailable
from weft.ops.rope.case import RopeCase
from weft.ops.rope.cpu import NativeRope
from weft.ops.rope.reference import ReferenceRope, apply_rope

__all__ = ["RopeCase", "apply_rope", "choose_rope"]


def _native_refuses(case: RopeCase) -> str | None:
    return unavailable(case.device, case.isa) or (None if case.dtype in DTYPES else f"{case.dtype}")


def choose_rope(case: RopeCase) -> Choice:
    """The kernel that runs `run(q, k, angles)`; see ReferenceRope."""
    native = None if _native_refuses(case) else NativeRope(case)
    return choose("rope", (
        Kernel("native", native, _native_refuses),
        Kernel("torch", ReferenceRope(case), never),
    ), case)

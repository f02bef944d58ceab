"""The short causal convolution of hybrid models, channel by channel, with a state for each sequence.

A kernel's `prepare(weight [C, K], bias [C] or None)` returns a function of x [T, C], states [B, K - 1, C] and a
ScanPlan. A state is the last K - 1 rows of a sequence, oldest first. `reference.py` is the definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from weft.ops.activation import ACTIVATIONS
from weft.ops.activation.cpu import ACTS
from weft.ops.causal_conv import cpu, reference
from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.native import DTYPES, unavailable

__all__ = ["CausalConvCase", "choose_causal_conv"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalConvCase:
    """The properties that decide which kernel a layer can run. act: a name of ops/activation, or None."""

    device: str
    dtype: torch.dtype
    kernel_size: int
    act: str | None = None
    isa: str = "reference"


def _native_refuses(case: CausalConvCase) -> str | None:
    reason = unavailable(case.device, case.isa)
    if reason is not None:
        return reason
    if case.dtype not in DTYPES:
        return f"{case.dtype}"
    if case.kernel_size > cpu.LONGEST:
        return f"kernel size {case.kernel_size} > {cpu.LONGEST}"
    return None if case.act in ACTS else f"activation {case.act}"


def choose_causal_conv(case: CausalConvCase) -> Choice:
    """The kernel whose `prepare(weight, bias)` returns a layer's convolution."""
    act = None if case.act is None else ACTIVATIONS[case.act]
    return choose("causal_conv", (
        Kernel("native", refuses=_native_refuses,
               prepare=partial(cpu.NativeCausalConv, case.act, case.dtype, case.isa)),
        Kernel("torch", refuses=never, prepare=partial(reference.ReferenceCausalConv, act)),
    ), case)

"""Mixture of experts: routing and the experts' products. `reference.py` is the definition."""

from __future__ import annotations

from dataclasses import dataclass

from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.moe import grouped, reference

__all__ = ["MoECase", "choose_moe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoECase:
    """What decides which kernel a mixture-of-experts layer can run."""

    device: str
    num_experts: int


_KERNELS = (Kernel("grouped", grouped.run, never), Kernel("reference", reference.run, never))


def choose_moe(case: MoECase) -> Choice:
    """Kernel `run(x, router_logits, gate_up, down, top_k, renormalize, act)`."""
    return choose("moe", _KERNELS, case)

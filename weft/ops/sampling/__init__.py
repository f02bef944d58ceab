"""Sampling tokens from logits: counter-based random numbers, filters of the distribution, log-probabilities.

A row's result depends on that row alone. `draw.py` and `logprobs.py` define sampling on tensors, `reference.py` for the
rows of a step; `cpu.py` is weft's kernel. A kernel's `prepare()` returns a sampler's TorchSampling or NativeSampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.native import unavailable
from weft.ops.sampling.cpu import NativeSampling
from weft.ops.sampling.draw import draw_tokens, filter_logits
from weft.ops.sampling.logprobs import TopLogprobs, top_logprobs
from weft.ops.sampling.random import uniforms
from weft.ops.sampling.reference import TorchSampling
from weft.ops.sampling.settings import EMPTY, GOOD, NO_NUMBERS, Drawn, DrawSettings

__all__ = [
    "EMPTY", "GOOD", "NO_NUMBERS", "DrawSettings", "Drawn", "SamplingCase", "TopLogprobs",
    "choose_sampling", "draw_tokens", "filter_logits", "top_logprobs", "uniforms",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingCase:
    """The properties that decide which kernel a sampler can run."""

    device: str
    isa: str = "reference"


def choose_sampling(case: SamplingCase) -> Choice:
    """The kernel whose `prepare()` returns a sampler's TorchSampling or NativeSampling."""
    return choose("sampling", (
        Kernel("native", refuses=lambda c: unavailable(c.device, c.isa), prepare=partial(NativeSampling, case.isa)),
        Kernel("torch", refuses=never, prepare=TorchSampling),
    ), case)

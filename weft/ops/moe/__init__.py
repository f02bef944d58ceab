"""Mixture of experts (MoE): routing and the experts' products. `reference.py` is the definition.

A kernel's `prepare(gate_up [X, 2F, E], down [X, E, F], routing)` returns a function of x and the router's logits.
Experts without a gate have [X, F, E] instead of gate_up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from weft.ops.activation import ClampedGLU
from weft.ops.activation.cpu import ACTS
from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.linear.cpu import refuses_quantized
from weft.ops.moe import cpu, grouped, reference
from weft.ops.moe.reference import Biases
from weft.ops.moe.routing import Routed, Routing
from weft.ops.native import unavailable
from weft.ops.nodes import MemoryNodes
from weft.ops.quantized import quantize
from weft.ops.quantized.quantize import group_size

__all__ = ["Biases", "MoECase", "Routed", "Routing", "choose_moe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoECase:
    """The properties that decide which kernel a mixture-of-experts layer can run. Fields as in LinearCase.

    act: a name of ops/activation, or a gate with numbers of its own. has_bias: the experts' products have biases.
    gated: an expert has a gate.
    """

    device: str
    dtype: torch.dtype
    hidden_size: int
    intermediate_size: int
    act: str | ClampedGLU
    has_bias: bool = False
    gated: bool = True
    isa: str = "reference"
    quantization: str | None = None
    activation_dtype: str | None = None
    nodes: MemoryNodes | None = field(default=None, compare=False, repr=False)


def _native_refuses(case: MoECase) -> str | None:
    reason = unavailable(case.device, case.isa)
    if reason is not None:
        return reason
    if case.act not in ACTS:
        return f"activation {case.act}"
    if case.has_bias:
        return "biases of experts"
    if not case.gated:
        return "experts without a gate"
    if case.hidden_size % 2 or case.intermediate_size % 32:
        return f"experts of {case.hidden_size} x {case.intermediate_size}: not multiples of 2 and 32"
    if case.quantization is not None:
        reasons = (refuses_quantized(n, group_size(case.quantization, n))
                   for n in (case.hidden_size, case.intermediate_size))
        return next(filter(None, reasons), None)
    return None


def choose_moe(case: MoECase) -> Choice:
    """The kernel whose `prepare(gate_up, down, routing, biases=None)` returns a layer's experts."""
    return choose("moe", (
        Kernel("native", refuses=_native_refuses, prepare=partial(_native, case)),
        Kernel("grouped", refuses=never, prepare=partial(_torch, case, grouped.GroupedExperts)),
        Kernel("reference", refuses=never, prepare=partial(_torch, case, reference.ReferenceExperts)),
    ), case)


def _native(case: MoECase, gate_up: cpu.Experts, down: cpu.Experts, routing: Routing,
            biases: Biases | None = None) -> cpu.NativeExperts:
    assert biases is None, "the native kernel refuses experts with biases"
    return cpu.NativeExperts(gate_up, down, routing, case.isa, case.dtype, case.quantization, case.nodes,
                             int8_activations=case.activation_dtype == "int8")


def _torch(case: MoECase, make: type[reference.ReferenceExperts], gate_up: Tensor, down: Tensor,
           routing: Routing, biases: Biases | None = None) -> reference.ReferenceExperts:
    if case.quantization is not None:
        for experts in (gate_up, down):
            for weight in experts:
                weight.copy_(quantize(weight, case.quantization).dequantize(case.dtype))
    return make(gate_up, down, routing, biases)

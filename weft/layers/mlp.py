"""The feed-forward parts as modules: an MLP and a mixture of experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from weft.architectures.spec import MLPSpec, MoESpec
from weft.layers.context import LayerContext
from weft.layers.layer import Layer
from weft.layers.linear import Linear, shape_only
from weft.ops.moe import MoECase, Routing, choose_moe
from weft.ops.quantized import QuantizedWeight, stacked


class MLP(Layer):
    """down(act(up(x))), or down(act(gate(x)) * up(x)) with gate and up as one product."""

    def __init__(self, spec: MLPSpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        size = spec.intermediate_size
        parts = {"gate": size, "up": size} if spec.gated else {"up": size}
        self.up = Linear(hidden_size, parts, bias=spec.bias, context=context, act=spec.act, gated=spec.gated)
        self.down = Linear(size, {"down": hidden_size}, bias=spec.bias, context=context)

    def forward(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, which may be x, residual += alpha * that, and it is returned."""
        return self.down(self.up(x), residual, alpha)

    def homes(self) -> dict[str, Tensor]:
        return self.up.homes() | self.down.homes()


class MoE(Layer):
    """A router, its experts' matrices stacked, and the shared expert if there is one."""

    def __init__(self, spec: MoESpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        self.spec, size = spec, spec.expert.intermediate_size
        exact = replace(context, quantization=None)        # routers are small, and decide
        self.router = Linear(hidden_size, {"router": spec.num_experts}, bias=False, context=exact)
        self.gate_up = self.parameter(spec.num_experts, 2 * size, hidden_size, context=context)
        self.down = self.parameter(spec.num_experts, hidden_size, size, context=context)
        self.shared = MLP(spec.shared, hidden_size, context=context) if spec.shared else None
        self.choice_bias = None
        if spec.choice_bias:                                   # differs in digits that a short float does not have
            self.choice_bias = self.parameter(spec.num_experts, context=replace(context, dtype=torch.float32))
        gate = {"shared_gate": 1}
        self.shared_gate = Linear(hidden_size, gate, bias=False, context=exact) if spec.shared_gate else None
        self.choice = choose_moe(MoECase(
            device=context.device, dtype=context.dtype, hidden_size=hidden_size, intermediate_size=size,
            act=spec.expert.act, isa=context.isa, quantization=context.weight_only().quantization, nodes=context.nodes))
        self.experts = None                                   # what the kernel makes of the matrices
        self.takes_codes = self.choice.name == "native"
        self.codes: dict[str, dict[int, QuantizedWeight]] = {"gate_up": {}, "down": {}}      # by first row

    def forward(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, which may be x, residual += alpha * that, and it is returned."""
        if residual is x:
            x = x.clone()                                     # the shared expert's part is added before the others read
        logits, scale = self.router(x), self.spec.scale
        if self.shared_gate is not None:
            out = self.experts(x, logits, self.shared(x) * torch.sigmoid(self.shared_gate(x)), scale)
            return out if residual is None else residual.add_(out, alpha=alpha)
        if self.shared is not None:
            residual = self.shared(x, residual, alpha)
        if residual is not None:
            return self.experts(x, logits, residual, alpha * scale)
        out = self.experts(x, logits)
        return out if scale == 1 else out.mul_(scale)

    def finish_loading(self) -> None:
        """Give the experts' matrices to the kernel. The homes no longer lead to them."""
        spec = self.spec
        routing = Routing(
            top_k=spec.num_experts_per_token, renormalize=spec.renormalize, act=spec.expert.act, scores=spec.scores,
            num_groups=spec.num_groups, groups_per_token=spec.groups_per_token, group_best=spec.group_best,
            choice_bias=None if self.choice_bias is None else self.choice_bias.data)
        gate_up = experts_with_codes(self.gate_up.data, self.codes["gate_up"], spec.expert.intermediate_size)
        down = experts_with_codes(self.down.data, self.codes["down"], self.down.shape[1])
        self.experts = self.choice.prepare(gate_up, down, routing)
        self.gate_up, self.down, self.codes = shape_only(self.gate_up), shape_only(self.down), {}

    def take(self, parameter: nn.Parameter, first: int, weight: QuantizedWeight) -> None:
        """As Layer."""
        name = "gate_up" if parameter is self.gate_up else "down"
        self.codes[name][first // parameter.shape[-1]] = weight.weight_only()

    def homes(self) -> dict[str, Tensor]:
        homes, size = self.router.homes(), self.spec.expert.intermediate_size
        for expert in range(self.spec.num_experts):
            homes[f"experts.{expert}.gate.weight"] = self.gate_up.data[expert, :size]
            homes[f"experts.{expert}.up.weight"] = self.gate_up.data[expert, size:]
            homes[f"experts.{expert}.down.weight"] = self.down.data[expert]
        if self.choice_bias is not None:
            homes["choice.bias"] = self.choice_bias.data
        if self.shared is not None:
            homes |= {f"shared.{name}": view for name, view in self.shared.homes().items()}
        if self.shared_gate is not None:
            homes |= self.shared_gate.homes()
        return homes


def experts_with_codes(weight: Tensor, codes: Mapping[int, QuantizedWeight],
                       rows: int) -> Tensor | list[QuantizedWeight]:
    """Loaded matrices [X, R, K], or codes for each expert when all came as codes of one format.

    codes: by first row of [X * R, K]; rows: of each part of an expert.
    """
    if not codes:
        return weight
    num_experts, size, _ = weight.shape
    experts = [stacked([codes.get(start, weight) for start in range(expert * size, (expert + 1) * size, rows)])
               for expert in range(num_experts)]
    if all(e is not None and e.format == experts[0].format for e in experts):
        return experts
    flat = weight.flatten(0, 1)
    for start, part in codes.items():
        flat[start : start + part.shape[0]] = part.dequantize(weight.dtype)
    return weight

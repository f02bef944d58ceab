"""The feed-forward parts as modules: an MLP and a mixture of experts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from weft.architectures.spec import MLPSpec, MoESpec
from weft.layers.linear import Linear, shape_only
from weft.layers.placement import Layer, Placement
from weft.ops.moe import MoECase, Routing, choose_moe


class MLP(Layer):
    """down(act(up(x))), or down(act(gate(x)) * up(x)) with gate and up as one product."""

    def __init__(self, spec: MLPSpec, hidden_size: int, *, place: Placement) -> None:
        super().__init__()
        size = spec.intermediate_size
        parts = {"gate": size, "up": size} if spec.gated else {"up": size}
        self.up = Linear(hidden_size, parts, bias=spec.bias, place=place, act=spec.act, gated=spec.gated)
        self.down = Linear(size, {"down": hidden_size}, bias=spec.bias, place=place)

    def forward(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned."""
        return self.down(self.up(x), residual, alpha)

    def homes(self) -> dict[str, Tensor]:
        return self.up.homes() | self.down.homes()


class MoE(Layer):
    """A router, its experts' matrices stacked, and the shared expert if there is one."""

    def __init__(self, spec: MoESpec, hidden_size: int, *, place: Placement) -> None:
        super().__init__()
        self.spec, size = spec, spec.expert.intermediate_size
        exact = replace(place, quantization=None)              # routers are small, and decide
        self.router = Linear(hidden_size, {"router": spec.num_experts}, bias=False, place=exact)
        self.gate_up = self.parameter(spec.num_experts, 2 * size, hidden_size, place=place)
        self.down = self.parameter(spec.num_experts, hidden_size, size, place=place)
        self.shared = MLP(spec.shared, hidden_size, place=place) if spec.shared else None
        gate = {"shared_gate": 1}
        self.shared_gate = Linear(hidden_size, gate, bias=False, place=exact) if spec.shared_gate else None
        self.kernel = choose_moe(MoECase(
            device=place.device, dtype=place.dtype, hidden_size=hidden_size, intermediate_size=size,
            act=spec.expert.act, isa=place.isa, quantization=place.quantization))
        self.experts = None                                   # what the kernel makes of the matrices

    def forward(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned."""
        logits = self.router(x)
        if self.shared is None:
            return self.experts(x, logits, residual, alpha)
        shared = self.shared(x)
        if self.shared_gate is not None:
            shared = shared * torch.sigmoid(self.shared_gate(x))
        out = self.experts(x, logits).add_(shared)
        return out if residual is None else residual.add_(out, alpha=alpha)

    def finish_loading(self) -> None:
        """Give the experts' matrices to the kernel. The homes no longer lead to them."""
        routing = Routing(top_k=self.spec.num_experts_per_token, renormalize=self.spec.renormalize,
                          act=self.spec.expert.act)
        self.experts = self.kernel.kernel.prepare(self.gate_up.data, self.down.data, routing)
        self.gate_up, self.down = shape_only(self.gate_up), shape_only(self.down)

    def homes(self) -> dict[str, Tensor]:
        homes, size = self.router.homes(), self.spec.expert.intermediate_size
        for expert in range(self.spec.num_experts):
            homes[f"experts.{expert}.gate.weight"] = self.gate_up.data[expert, :size]
            homes[f"experts.{expert}.up.weight"] = self.gate_up.data[expert, size:]
            homes[f"experts.{expert}.down.weight"] = self.down.data[expert]
        if self.shared is not None:
            homes |= {f"shared.{name}": view for name, view in self.shared.homes().items()}
        if self.shared_gate is not None:
            homes |= self.shared_gate.homes()
        return homes

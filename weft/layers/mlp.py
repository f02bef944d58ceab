"""The feed-forward parts as modules: an MLP and a mixture of experts."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.architectures.spec import MLPSpec, MoESpec
from weft.layers.linear import Linear
from weft.layers.placement import Layer, Placement
from weft.ops.activation import activation
from weft.ops.moe import MoECase, choose_moe


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
        self.router = Linear(hidden_size, {"router": spec.num_experts}, bias=False, place=place)
        self.gate_up = self.parameter(spec.num_experts, 2 * size, hidden_size, place=place)
        self.down = self.parameter(spec.num_experts, hidden_size, size, place=place)
        self.shared = MLP(spec.shared, hidden_size, place=place) if spec.shared else None
        gate = {"shared_gate": 1}
        self.shared_gate = Linear(hidden_size, gate, bias=False, place=place) if spec.shared_gate else None
        self.act = activation(spec.expert.act)
        self.kernel = choose_moe(MoECase(device=place.device, num_experts=spec.num_experts))

    def forward(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned."""
        spec = self.spec
        out = self.kernel.run(x, self.router(x), self.gate_up, self.down, spec.num_experts_per_token, spec.renormalize,
                              self.act)
        if self.shared is not None:
            shared = self.shared(x)
            if self.shared_gate is not None:
                shared = shared * torch.sigmoid(self.shared_gate(x))
            out = out + shared
        return out if residual is None else residual.add_(out, alpha=alpha)

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

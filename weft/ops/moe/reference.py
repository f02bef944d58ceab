"""The definition of a mixture of experts: one token at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from weft.ops.activation import activation, gate
from weft.ops.moe.routing import Routed, Routing


class Biases(NamedTuple):
    """Biases of experts. gate_up: [X, 2F]; down: [X, E]."""

    gate_up: Tensor
    down: Tensor


class ReferenceExperts:
    """The sum over a token's experts of weight * down(act(gate_up(x))), in float32.

    gate_up: [X, 2F, E], gate rows first, or [X, F, E] without a gate; down: [X, E, F]; biases: of both. act: of the
    routing, act(gate) * up, or another gate of ops/activation, or act(up). Source: arXiv:2401.04088.
    """

    def __init__(self, gate_up: Tensor, down: Tensor, routing: Routing, biases: Biases | None = None) -> None:
        self.gate_up, self.down, self.biases, self.routing = gate_up, down, biases, routing
        self.act = activation(str(routing.act)) if not routing.gated else gate(routing.act)

    def __call__(self, x: Tensor, router_logits: Tensor | Routed, residual: Tensor | None = None,
                 alpha: float = 1.0) -> Tensor:
        """x [T, E], router_logits [T, X] -> [T, E]. With a residual, returns residual += alpha * result, in place.

        router_logits: or the experts that the caller chose.
        """
        out = self.sum_of_experts(x, router_logits)
        return out if residual is None else residual.add_(out, alpha=alpha)

    def matrices(self, name: str) -> Tensor:
        """The weights under a name: gate_up or down."""
        return {"gate_up": self.gate_up, "down": self.down}[name]

    def sum_of_experts(self, x: Tensor, router_logits: Tensor | Routed) -> Tensor:
        """x [T, E], router_logits [T, X] -> [T, E] in x's dtype."""
        weights, experts = self.routing.route(router_logits)
        out = torch.zeros_like(x, dtype=torch.float32)
        for token in range(x.shape[0]):
            for weight, expert in zip(weights[token], experts[token].tolist(), strict=True):
                inner = self.gate_up[expert].float() @ x[token].float()
                inner = self.act(inner if self.biases is None else inner + self.biases.gate_up[expert].float())
                result = self.down[expert].float() @ inner
                out[token] += weight * (result if self.biases is None else result + self.biases.down[expert].float())
        return out.to(x.dtype)

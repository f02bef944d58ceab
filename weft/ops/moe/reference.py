"""The definition of a mixture of gated experts: one token at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.activation import activation
from weft.ops.moe.routing import Routing


class ReferenceExperts:
    """The sum over a token's experts of weight * down(act(gate(x)) * up(x)), in float32.

    gate_up: [X, 2F, E], gate rows first; down: [X, E, F]. Source: arXiv:2401.04088.
    """

    def __init__(self, gate_up: Tensor, down: Tensor, routing: Routing) -> None:
        self.gate_up, self.down, self.routing, self.act = gate_up, down, routing, activation(routing.act)

    def __call__(self, x: Tensor, router_logits: Tensor, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """x [T, E], router_logits [T, X] -> [T, E]. With a residual, returns residual += alpha * result, in place."""
        out = self.sum_of_experts(x, router_logits)
        return out if residual is None else residual.add_(out, alpha=alpha)

    def sum_of_experts(self, x: Tensor, router_logits: Tensor) -> Tensor:
        """x [T, E], router_logits [T, X] -> [T, E] in x's dtype."""
        weights, experts = self.routing.route(router_logits)
        out = torch.zeros_like(x, dtype=torch.float32)
        for token in range(x.shape[0]):
            for weight, expert in zip(weights[token], experts[token].tolist(), strict=True):
                gate, up = (self.gate_up[expert].float() @ x[token].float()).chunk(2)
                out[token] += weight * (self.down[expert].float() @ (self.act(gate) * up))
        return out.to(x.dtype)

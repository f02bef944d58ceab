"""Which experts a token takes, and with what weight: what every kernel of the mixture is told."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Softmax over all experts, the `top_k` largest, their weights rescaled to sum 1 if `renormalize`.

    act: the experts' activation, a name of ops/activation.
    """

    top_k: int
    renormalize: bool
    act: str

    def route(self, router_logits: Tensor) -> tuple[Tensor, Tensor]:
        """(weights [T, K] float32, expert ids [T, K]) from [T, X]."""
        weights, experts = torch.softmax(router_logits.float(), dim=-1).topk(self.top_k, dim=-1)
        return (weights / weights.sum(-1, keepdim=True) if self.renormalize else weights), experts

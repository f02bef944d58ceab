"""Experts in torch, by groups of tokens: the weights of an expert in use are read once, for all its tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from weft.ops.moe.reference import ReferenceExperts


class GroupedExperts(ReferenceExperts):
    """A kernel with the contract of ReferenceExperts; its products are in x's dtype."""

    def sum_of_experts(self, x: Tensor, router_logits: Tensor) -> Tensor:
        """x [T, E], router_logits [T, X] -> [T, E] in x's dtype."""
        weights, experts = self.routing.route(router_logits)
        order = experts.flatten().argsort(stable=True)                       # (token, expert) pairs, sorted by expert
        tokens = order // self.routing.top_k
        counts = torch.bincount(experts.flatten(), minlength=self.gate_up.shape[0]).tolist()
        scale = weights.flatten()[order].to(x.dtype).unsqueeze(-1)
        out, start = torch.zeros_like(x), 0
        for expert, count in enumerate(counts):
            if count == 0:
                continue
            rows = slice(start, start + count)
            gate, up = linear(x[tokens[rows]], self.gate_up[expert]).chunk(2, dim=-1)
            result = linear(self.act(gate) * up, self.down[expert])
            out.index_add_(0, tokens[rows], result * scale[rows])
            start += count
        return out

"""Experts in torch, by groups of tokens: the weights of an expert in use are read once, for all its tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from weft.ops.moe.reference import ReferenceExperts
from weft.ops.moe.routing import Routed


class GroupedExperts(ReferenceExperts):
    """A kernel with the contract of ReferenceExperts; its products are in x's dtype."""

    def sum_of_experts(self, x: Tensor, router_logits: Tensor | Routed) -> Tensor:
        """x [T, E], router_logits [T, X] -> [T, E] in x's dtype."""
        weights, experts = self.routing.route(router_logits)
        top_k = experts.shape[1]
        order = experts.flatten().argsort(stable=True)                       # (token, expert) pairs, sorted by expert
        tokens = order // top_k
        counts = torch.bincount(experts.flatten(), minlength=self.gate_up.shape[0]).tolist()
        scale = weights.flatten()[order].to(x.dtype).unsqueeze(-1)
        out, start = torch.zeros_like(x), 0
        for expert, count in enumerate(counts):
            if count == 0:
                continue
            rows = slice(start, start + count)
            up_bias, down_bias = (None, None) if self.biases is None else (bias[expert] for bias in self.biases)
            inner = self.act(linear(x[tokens[rows]], self.gate_up[expert], up_bias))
            result = linear(inner, self.down[expert], down_bias)
            out.index_add_(0, tokens[rows], result * scale[rows])
            start += count
        return out

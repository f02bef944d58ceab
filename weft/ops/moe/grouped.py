"""Experts by groups of tokens: each expert in use is read once and multiplies all its tokens together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from weft.ops.moe.reference import route


def run(x: Tensor, router_logits: Tensor, gate_up: Tensor, down: Tensor, top_k: int, renormalize: bool,
        act: Callable[[Tensor], Tensor]) -> Tensor:
    """As `reference.run`; the products are in x's dtype."""
    weights, experts = route(router_logits, top_k, renormalize)
    order = experts.flatten().argsort(stable=True)                       # assignments, sorted by expert
    tokens = order // top_k
    counts = torch.bincount(experts.flatten(), minlength=gate_up.shape[0]).tolist()
    scale = weights.flatten()[order].to(x.dtype).unsqueeze(-1)
    out, start = torch.zeros_like(x), 0
    for expert, count in enumerate(counts):
        if count == 0:
            continue
        rows = slice(start, start + count)
        gate, up = torch.nn.functional.linear(x[tokens[rows]], gate_up[expert]).chunk(2, dim=-1)
        result = torch.nn.functional.linear(act(gate) * up, down[expert])
        out.index_add_(0, tokens[rows], result * scale[rows])
        start += count
    return out

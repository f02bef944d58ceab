"""The definition of a softmax-routed mixture of gated experts: one token at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def route(router_logits: Tensor, top_k: int, renormalize: bool) -> tuple[Tensor, Tensor]:
    """(weights [T, K] float32, expert ids [T, K]): softmax over all, the K largest, rescaled to sum 1 if asked."""
    weights, experts = torch.softmax(router_logits.float(), dim=-1).topk(top_k, dim=-1)
    return (weights / weights.sum(-1, keepdim=True) if renormalize else weights), experts


def run(x: Tensor, router_logits: Tensor, gate_up: Tensor, down: Tensor, top_k: int, renormalize: bool,
        act: Callable[[Tensor], Tensor]) -> Tensor:
    """sum over a token's experts of weight * down(act(gate(x)) * up(x)).

    Args:
        x: [T, E]; router_logits: [T, X]; gate_up: [X, 2F, E], gate rows first; down: [X, E, F].
    Returns:
        [T, E] in x's dtype.
    Source: arXiv:2401.04088.
    """
    weights, experts = route(router_logits, top_k, renormalize)
    out = torch.zeros_like(x, dtype=torch.float32)
    for token in range(x.shape[0]):
        for weight, expert in zip(weights[token], experts[token].tolist(), strict=True):
            gate, up = (gate_up[expert].float() @ x[token].float()).chunk(2)
            out[token] += weight * (down[expert].float() @ (act(gate) * up))
    return out.to(x.dtype)

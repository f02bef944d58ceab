"""The decays and learning rates of the gated delta rule, of what two products made of a token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def decays_and_rates(a: Tensor, b: Tensor, a_log: Tensor, dt_bias: Tensor, *, scale: float) -> tuple[Tensor, Tensor]:
    """(log_decays, betas) for a kernel of the rule, float32.

    a: [T, H], or [T, H * Dk] for a decay of each dimension of a key. b: [T, H]. a_log: [H]. dt_bias: as a row of a.
    log_decays = -exp(a_log) * softplus(a + dt_bias), [T, H] or [T, H, Dk]; betas = scale * sigmoid(b), [T, H].
    Doubles are rounded last, because torch rounds functions of float32 depending on a number's place in memory.
    Source: arXiv:2412.06464, and Transformers' Qwen3-Next.
    """
    heads = len(a_log)
    steps = F.softplus(a.double() + dt_bias.double()).unflatten(1, (heads, -1))
    decays = (-a_log.double().exp().unsqueeze(-1) * steps).float()
    betas = (scale * torch.sigmoid(b.double())).float()
    return (decays if a.shape[1] > heads else decays.squeeze(-1)), betas

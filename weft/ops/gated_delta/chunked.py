"""The gated delta rule in chunks of a prompt, by products of torch: 32 tokens at a time instead of one.

Within a chunk the corrections depend on each other by a triangular system. What a chunk reads of earlier tokens, and
what it adds to the state, are products. Bound: these products. Sums are rounded otherwise than token by token.
Source: the chunked form of arXiv:2412.06464, section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.gated_delta.reference import unit_rows
from weft.ops.scan_plan import ScanPlan, state_before

_CHUNK = 32      # tokens; decays of each dimension need [H, 32, 32, Dk] numbers


def gated_delta_chunked(q: Tensor, k: Tensor, v: Tensor, log_decays: Tensor, betas: Tensor, states: Tensor,
                        plan: ScanPlan, *, scale: float, normalises: bool) -> Tensor:
    """As reference.gated_delta."""
    plan.check(len(v), states)
    out, group = torch.empty(v.shape, dtype=v.dtype), v.shape[1] // k.shape[1]
    q, k = (x.transpose(0, 1).repeat_interleave(group, dim=0) for x in unit_rows(q, k, normalises))      # [H, T, Dk]
    q, values, betas = q * scale, v.float().transpose(0, 1), betas.t().unsqueeze(-1)
    decays = log_decays.view(*v.shape[:2], -1).transpose(0, 1)                                   # [H, T, 1 or Dk]
    for rows, read, write in plan.sequences():
        state = state_before(states, read)
        for start in range(rows.start, rows.stop, _CHUNK):
            part = slice(start, min(start + _CHUNK, rows.stop))
            result, state = _chunk(q[:, part], k[:, part], values[:, part], decays[:, part], betas[:, part], state)
            out[part] = result.transpose(0, 1).to(v.dtype)
        states[write] = state
    return out


def _chunk(q: Tensor, k: Tensor, v: Tensor, decays: Tensor, betas: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """(result [H, C, Dv], the state after it) of q, k [H, C, Dk], v [H, C, Dv], decays [H, C, 1 or Dk], betas [H, C, 1]
    and the state before [H, Dk, Dv].
    """
    total = decays.cumsum(dim=1)
    since_start = total.exp()
    scores, overlaps = (_pairs(x, k, total) for x in (q, k))                                     # [H, C, C]
    system = (betas * overlaps).tril(-1)
    wanted = betas * (v - (k * since_start) @ state)
    new = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
    result = (q * since_start) @ state + scores.tril() @ new
    until_end = (total[:, -1:] - total).exp()
    kept = total[:, -1].exp().unsqueeze(-1)                                                      # [H, 1 or Dk, 1]
    return result, kept * state + (k * until_end).transpose(1, 2) @ new


def _pairs(x: Tensor, k: Tensor, total: Tensor) -> Tensor:
    """sum over d of x[i, d] * k[j, d] * exp(total[i, d] - total[j, d]) for j <= i; other pairs: any finite number."""
    apart = (total.unsqueeze(2) - total.unsqueeze(1)).clamp(max=0).exp()                         # [H, C, C, 1 or Dk]
    if apart.shape[-1] == 1:
        return (x @ k.transpose(1, 2)) * apart.squeeze(-1)
    return torch.einsum("hid,hjd,hijd->hij", x, k, apart)

"""The definition of the gated delta rule, token after token, in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.scan_plan import ScanPlan, state_before


def gated_delta(q: Tensor, k: Tensor, v: Tensor, log_decays: Tensor, betas: Tensor, states: Tensor, plan: ScanPlan, *,
                scale: float, normalises: bool) -> Tensor:
    """S = exp(g) S;  S += beta k (v - S^T k)^T;  o = S^T q * scale, for each head of each sequence.

    Args:
        q, k: [T, Hk, Dk]; a key head serves H / Hk adjacent value heads. v: [T, H, Dv].
        log_decays: [T, H] float32, at most 0; or [T, H, Dk], a decay for each row of the state.
        betas: [T, H] float32, usually in (0, 1).
        states: [B, H, Dk, Dv] float32, read at the plan's read_ids and written at its write_ids.
        normalises: q and k are divided by their lengths first, sqrt(sum of squares + 1e-6).
    Returns:
        [T, H, Dv] in the dtype of v.
    Source: arXiv:2412.06464, equation 10; normalisation as in Transformers' Qwen3-Next. Decays of rows:
    arXiv:2510.26692.
    """
    plan.check(len(v), states)
    out, group = torch.empty(v.shape, dtype=v.dtype), v.shape[1] // k.shape[1]
    q, k = (x.repeat_interleave(group, dim=1) for x in unit_rows(q, k, normalises))
    for rows, read, write in plan.sequences():
        state = state_before(states, read)
        for t in range(rows.start, rows.stop):
            state *= log_decays[t].exp().view(state.shape[0], -1, 1)
            known = torch.einsum("hkv,hk->hv", state, k[t])
            state += torch.einsum("hk,hv->hkv", k[t], betas[t][:, None] * (v[t].float() - known))
            out[t] = torch.einsum("hkv,hk->hv", state, q[t] * scale)
        states[write] = state
    return out


def unit_rows(q: Tensor, k: Tensor, normalises: bool) -> tuple[Tensor, Tensor]:
    """q and k [T, Hk, Dk] as float32, each row divided by its length if `normalises`."""
    q, k = q.float(), k.float()
    if normalises:
        q, k = (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6) for x in (q, k))
    return q, k

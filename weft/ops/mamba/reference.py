"""The definition of Mamba's scans, token after token, in float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.ops.mamba.options import MambaOptions
from weft.ops.scan_plan import ScanPlan, result_memory, state_before


class ReferenceMamba:
    """h = exp(dt a) h + dt b x;  y = c h + d x, for each channel with its N states.

    Mamba-1: a [C, N], d and dt_bias [C]. Mamba-2 (by_head): a, d and dt_bias [H]. a is negative.
    Source: arXiv:2312.00752, section 3.2; arXiv:2405.21060, section 7.
    """

    def __init__(self, options: MambaOptions, a: Tensor, d: Tensor | None, dt_bias: Tensor | None) -> None:
        self.options = options
        self.a = a.float()
        self.d, self.dt_bias = (None if p is None else p.float() for p in (d, dt_bias))

    def __call__(self, x: Tensor, dt: Tensor, b: Tensor, c: Tensor, states: Tensor, plan: ScanPlan,
                 z: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Scan each sequence.

        Args:
            x: [T, C]; by head [T, H, P]. dt: [T, C]; by head [T, H], before bias and softplus.
            b, c: [T, N]; by head [T, G, N], where a group serves H / G adjacent heads.
            states: [B, N, C]; by head [B, H, N, P], float32; read at the plan's read_ids, written at its write_ids.
            z: shaped as x, or None; y is multiplied by silu(z).
            out: contiguous memory for the result, which must not be that of x.
        Returns:
            y, of x's shape and dtype.
        """
        plan.check(len(x), states)
        steps, wide, out = self._steps(dt), x.float(), result_memory(x, out)
        b, c = b.float(), c.float()
        for rows, read, write in plan.sequences():
            state = state_before(states, read)
            for t in range(rows.start, rows.stop):
                advance = self._by_head if self.options.by_head else self._by_channel
                y = advance(state, wide[t], steps[t], b[t], c[t])
                if z is not None:
                    y = y * F.silu(z[t].float())
                out[t] = y.to(x.dtype)
            states[write] = state
        return out

    def _steps(self, dt: Tensor) -> Tensor:
        dt = dt.float()
        if self.dt_bias is not None:
            dt = dt + self.dt_bias
        if self.options.softplus:
            dt = F.softplus(dt)
        return dt.clamp(*self.options.dt_limits)

    def _by_channel(self, state: Tensor, x: Tensor, dt: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """One token: state [N, C], x and dt [C], b and c [N]."""
        state *= torch.exp(dt * self.a.t())
        state += b[:, None] * (dt * x)
        y = (c[:, None] * state).sum(0)
        return y if self.d is None else y + self.d * x

    def _by_head(self, state: Tensor, x: Tensor, dt: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """One token: state [H, N, P], x [H, P], dt [H], b and c [G, N]."""
        b, c = (m.repeat_interleave(len(x) // len(m), dim=0) for m in (b, c))           # [H, N]
        state *= torch.exp(dt * self.a)[:, None, None]
        state += b[:, :, None] * (dt[:, None] * x)[:, None, :]
        y = (c[:, :, None] * state).sum(1)
        return y if self.d is None else y + self.d[:, None] * x

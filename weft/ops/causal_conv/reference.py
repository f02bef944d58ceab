"""The definition of the causal convolution with a state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from weft.ops.scan_plan import ScanPlan, result_memory, state_before


class ReferenceCausalConv:
    """y[t] = act(bias + sum_k weight[:, k] * x[t - K + 1 + k]) for each sequence, in float32.

    Source: the convolution before the scan in Mamba, arXiv:2312.00752 section 3.4.
    """

    def __init__(self, act: Callable[[Tensor], Tensor] | None, weight: Tensor, bias: Tensor | None) -> None:
        self.act, self.weight, self.bias = act, weight, bias

    def __call__(self, x: Tensor, states: Tensor, plan: ScanPlan, out: Tensor | None = None) -> Tensor:
        """x [T, C] -> [T, C]. states: [B, K - 1, C], read at the plan's read_ids and written at its write_ids.

        out: memory for the result, which must not be that of x; its rows may lie apart.
        """
        plan.check(len(x), states)
        out, weight = result_memory(x, out, by_row=True), self.weight.float()
        for rows, read, write in plan.sequences():
            known = torch.cat([state_before(states, read), x[rows]]).float()                       # [K - 1 + n, C]
            y = torch.zeros_like(x[rows], dtype=torch.float32)
            if self.bias is not None:
                y += self.bias.float()
            for k in range(weight.shape[1]):
                y += weight[:, k] * known[k : k + len(y)]
            out[rows] = (y if self.act is None else self.act(y)).to(x.dtype)
            states[write] = known[len(y) :].to(states.dtype)
        return out

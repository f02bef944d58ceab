"""What stays the same for an attention layer from step to step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AlibiBias:
    """What ALiBi adds to the scaled scores of a key, up to a constant for each query, which a softmax does not see.

    slopes: [H] float32; scale: factor on the bias; is_bfloat16: position and product rounded to bfloat16 (Falcon's
    published code), which needs absolute positions. Source: arXiv:2108.12409.
    """

    slopes: Tensor
    scale: float = 1.0
    is_bfloat16: bool = False

    def bias(self, key_positions: Tensor, last_position: Tensor) -> Tensor:
        """[s, H, 1, L] float32 from key_positions [s, 1, 1, L] and the last query's position [s, 1, 1, 1]."""
        slopes = self.slopes.view(1, -1, 1, 1)
        if self.is_bfloat16:
            return (slopes.bfloat16() * key_positions.bfloat16()).float() * self.scale
        return slopes * (key_positions - last_position) * self.scale


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AttentionParams:
    """scale: factor on q·k; softcap: scores become softcap * tanh(scores / softcap).

    sinks: [H] float32, logits that join each row's softmax and weigh no value.
    """

    scale: float
    softcap: float | None = None
    alibi: AlibiBias | None = None
    sinks: Tensor | None = None


def alibi_slopes(num_heads: int, max_bias: float = 8.0) -> Tensor:
    """[H] float32 slopes: 2^(-max_bias * i / n) for the largest power of two n, odd ones of 2n for the other heads.

    Source: arXiv:2108.12409, and its authors' rule for head counts that are no power of two.
    """
    base = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-max_bias * (i + 1) / base) for i in range(base)]
    slopes += [2.0 ** (-max_bias * (2 * i + 1) / (2 * base)) for i in range(num_heads - base)]
    return torch.tensor(slopes, dtype=torch.float32)

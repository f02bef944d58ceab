"""`AttentionParams`: the parameters of an attention layer that stay the same from step to step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AlibiBias:
    """ALiBi's bias on the scaled scores, up to a constant for each query, which the softmax does not see.

    slopes: [H] float32. scale: factor on the bias. is_bfloat16: position and product are rounded to bfloat16, as in
    Falcon's published code; this needs absolute positions. Source: arXiv:2108.12409.
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


_KEYS = 128           # fewest keys of a block of RelativeTerms, which makes products for n + keys - 1 distances


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RelativeTerms:
    """Products of queries and keys with vectors for their distance, which a layer adds to q·k before the scale.

    A score becomes scale * (q·k + q·keys[row] + k·queries[row]), with row = rows[M + d] for a key d tokens after the
    query and d clamped to -M .. M (DeBERTa's disentangled attention, arXiv:2006.03654). Only for layers with as many
    heads of keys as of queries, and, like `bias_by_distance`, for self-attention.
    keys, queries: [H, N, D] in the model's dtype; None: without this term. rows: [2M + 1] int64.
    """

    keys: Tensor | None
    queries: Tensor | None
    rows: Tensor

    def products(self, q: Tensor, k: Tensor, distances: Tensor) -> Tensor:
        """[s, H, n, L] float32, unscaled: what is added to q·k. q: [s, H, n, D]; k: [s, H, L, D]; distances: [s, n, L]
        int64, key position - query position; queries are neighbours, and so are keys.
        """
        return torch.cat([self._of_sequence(*each) for each in zip(q, k, distances[:, 0, 0].tolist(), strict=True)])

    def _of_sequence(self, q: Tensor, k: Tensor, first: int) -> Tensor:
        """[1, H, n, L]. first: distance of the first key from the first query."""
        length, block = k.shape[1], max(_KEYS, q.shape[1])
        blocks = [self._of_block(q, k[:, start : start + block], first + start) for start in range(0, length, block)]
        return torch.cat(blocks, dim=2).unsqueeze(0)

    def _of_block(self, q: Tensor, k: Tensor, first: int) -> Tensor:
        """[H, n, L] of some keys. Products are made for each distance there is, R = n + L - 1.

        The product of query i and key j is that of distance first + j - i. So each query's row begins one further left,
        and each key's one further right: both are views of the products, and nothing is gathered.
        """
        (heads, n, _), length, most = q.shape, k.shape[1], self.rows.shape[0] // 2
        count = n + length - 1
        rows = self.rows[(torch.arange(count) + first - (n - 1)).clamp(-most, most) + most]
        total = q.new_zeros((), dtype=torch.float32)
        if self.keys is not None:
            each = torch.matmul(q, self.keys[:, rows].transpose(1, 2)).float()                   # [H, n, R]
            total = total + each.as_strided((heads, n, length), (n * count, count - 1, 1), n - 1)
        if self.queries is not None:
            each = torch.matmul(k, self.queries[:, rows.flip(0)].transpose(1, 2)).float()        # [H, L, R]
            total = total + each.as_strided((heads, n, length), (length * count, 1, count - 1), length - 1)
        return total


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AttentionParams:
    """The parameters of an attention layer.

    scale: factor on q·k. softcap: scores become softcap * tanh(scores / softcap).
    bias_by_distance: [H, 2M + 1] float32, contiguous, added to the scores after the cap: column M + d for a key d
        tokens after the query, with d clamped to -M .. M (T5's relative bias, arXiv:1910.10683, with one number for
        each distance instead of each bucket). Only for self-attention, because query i of a sequence counts as
        position seq_len - query_len + i; T5's cross attention has no bias.
    sinks: [H] float32, logits that join each row's softmax without a value.
    relative: products with vectors for each distance.
    value_dim: keys are latents: the last value_dim numbers of a key are its value, and only keys are cached (multi-head
        latent attention, arXiv:2405.04434 section 2.1, with the products that expand keys and values moved to the
        queries and the results). None: keys and values are cached side by side.
    """

    scale: float
    softcap: float | None = None
    alibi: AlibiBias | None = None
    bias_by_distance: Tensor | None = None
    sinks: Tensor | None = None
    relative: RelativeTerms | None = None
    value_dim: int | None = None

    @property
    def adds_nothing(self) -> bool:
        """True if scores are just q·k times the scale."""
        none = (self.softcap, self.alibi, self.bias_by_distance, self.relative)
        return all(each is None for each in none)


def distance_bias(bias_by_distance: Tensor, distances: Tensor) -> Tensor:
    """[H, *distances.shape] float32: the bias at `distances` (int64, key position - query position)."""
    most = bias_by_distance.shape[1] // 2
    return bias_by_distance[:, distances.clamp(-most, most) + most]


def alibi_slopes(num_heads: int, max_bias: float = 8.0) -> Tensor:
    """[H] float32 slopes: 2^(-max_bias * i / n) for the largest power of two n, odd ones of 2n for the other heads.

    Source: arXiv:2108.12409, and its authors' rule for head counts that are no power of two.
    """
    base = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-max_bias * (i + 1) / base) for i in range(base)]
    slopes += [2.0 ** (-max_bias * (2 * i + 1) / (2 * base)) for i in range(num_heads - base)]
    return torch.tensor(slopes, dtype=torch.float32)

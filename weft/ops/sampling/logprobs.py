"""Log-probabilities to report: the chosen token's, its rank, and the likeliest tokens'."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TopLogprobs:
    """Log-probabilities (or logits) of N positions.

    chosen, ranks: [N], values of the chosen tokens and their ranks (from 1).
    best_ids, best: [N, k], ids and values of the likeliest tokens.
    """

    chosen: Tensor
    ranks: Tensor
    best_ids: Tensor
    best: Tensor


def top_logprobs(values: Tensor, chosen_ids: Tensor, num_best: int) -> TopLogprobs:
    """The TopLogprobs of N positions.

    values: [N, V] float32, log-probabilities (or logits, where those are reported).
    chosen_ids: [N] int64. num_best: k, 0 for none.
    """
    chosen = values.gather(1, chosen_ids[:, None])
    ranks = (values > chosen).sum(-1) + 1
    best = values.topk(num_best, dim=-1) if num_best else None
    empty = values.new_empty(len(values), 0)
    return TopLogprobs(chosen[:, 0], ranks, empty.long() if best is None else best.indices,
                       empty if best is None else torch.as_tensor(best.values))

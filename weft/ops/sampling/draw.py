"""Filters logits by min-p, top-k and top-p, and draws one token a row by inverting the cumulative sum.

Every filter is a threshold on the logits, so tokens with equal logits stay or go together, in whatever order they sort.
"""

from __future__ import annotations

import torch
from torch import Tensor

_CANDIDATES = 1024             # top-p looks among this many of the likeliest tokens before it sorts a whole row


def filter_logits(logits: Tensor, *, min_p: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Put -inf where a token is filtered out, in place.

    Args:
        logits: [N, V] float32, already divided by the temperature; modified and returned.
        min_p: [N], tokens less likely than this times the likeliest go; 0: off.
        top_k: [N] int64, tokens less likely than the k-th go; 0: off.
        top_p: [N], after the other two: the likeliest tokens whose probabilities reach p stay; 1: off.
    """
    size = logits.shape[1]
    low = logits.amax(-1) + torch.log(min_p)                                             # [N], -inf where off
    ks = torch.where(top_k > 0, top_k, size).clamp(max=size)
    limited = ks[ks < size]
    widest = int(limited.max()) if limited.numel() else 0
    if bool((top_p < 1).any()):
        widest = max(widest, min(_CANDIDATES, size))
    if widest == 0:
        return logits.masked_fill_(logits < low[:, None], -torch.inf)
    best = logits.topk(widest, dim=-1).values                                            # [N, widest], best first
    kth = best.gather(1, (ks.clamp(max=widest) - 1)[:, None])[:, 0]
    low = torch.where(ks < size, torch.maximum(low, kth), low)
    logits.masked_fill_(logits < low[:, None], -torch.inf)
    for row in (top_p < 1).nonzero()[:, 0].tolist():
        threshold = _top_p_threshold(logits[row], best[row], float(top_p[row]))
        logits[row].masked_fill_(logits[row] < threshold, -torch.inf)
    return logits


def _top_p_threshold(logits: Tensor, best: Tensor, top_p: float) -> Tensor:
    """The smallest logit that top-p keeps. logits: [V], -inf where filtered. best: the largest logits, descending."""
    total = logits.logsumexp(-1)
    reached = (best - total).exp().double().cumsum(-1)
    if reached[-1] < top_p and best.shape[0] < logits.shape[0]:
        best = logits.sort(descending=True).values
        reached = (best - total).exp().double().cumsum(-1)
    return best[min(int((reached < top_p).sum()), best.shape[0] - 1)]


def draw_tokens(logits: Tensor, numbers: Tensor) -> Tensor:
    """[N] int64 token ids: the first whose cumulative probability exceeds the row's number.

    Args:
        logits: [N, V] float32, filtered. numbers: [N] float64 in (0, 1).
    """
    cumulative = torch.softmax(logits, dim=-1).cumsum(-1, dtype=torch.float64)
    targets = numbers[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, targets, right=True)[:, 0]
    # Rounding may place the target at the end of the row, behind the last token with any probability.
    last = (cumulative < cumulative[:, -1:]).sum(-1)
    return torch.minimum(tokens, last)

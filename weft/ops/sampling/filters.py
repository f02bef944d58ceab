"""Filters of one row of logits [V], float32: what they leave out becomes -inf. The samplers of llama.cpp."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def keep_sigma(row: Tensor, num_sigmas: float) -> None:
    """Keep the tokens at most so many standard deviations of the logits below the largest. Source: arXiv:2411.07641."""
    finite = row[row > -torch.inf]
    row.masked_fill_(row < finite.max() - num_sigmas * finite.std(correction=0), -torch.inf)


def keep_typical(row: Tensor, p: float) -> None:
    """Keep the tokens whose surprise is nearest to the entropy, the fewest whose probabilities add up to more than p.

    Source: arXiv:2202.00666.
    """
    logs = row.log_softmax(-1)
    probs = logs.exp()
    entropy = -(probs * logs.masked_fill(probs == 0, 0)).sum()
    order = (-logs - entropy).abs().argsort(stable=True)
    count = int((probs[order].cumsum(-1) <= p).sum()) + 1
    row[order[count:]] = -torch.inf


def leave_out_top(row: Tensor, threshold: float) -> None:
    """XTC: leave out the tokens of at least this probability, but the least likely of them.

    Source: https://github.com/oobabooga/text-generation-webui/pull/6335.
    """
    probs = row.softmax(-1)
    likely = (probs >= threshold).nonzero().flatten()
    if len(likely) > 1:
        order = probs[likely].argsort(descending=True, stable=True)
        row[likely[order[:-1]]] = -torch.inf


def dynamic_temperature(row: Tensor, temperature: float, spread: float, exponent: float) -> float:
    """The temperature between temperature - spread (entropy 0) and temperature + spread (the largest entropy).

    Source: https://github.com/ggml-org/llama.cpp/pull/4972.
    """
    logs = row[row > -torch.inf].log_softmax(-1)
    low, high = max(0.0, temperature - spread), temperature + spread
    if len(logs) < 2:
        return low
    entropy = float(-(logs.exp() * logs).sum()) / math.log(len(logs))
    return low + (high - low) * entropy ** exponent


def keep_surprise(row: Tensor, mu: float, *, version: int) -> Tensor:
    """Mirostat: keep the tokens that surprise by at most mu bits, or the likeliest one. Returns log2 of the
    probabilities among them, [V].

    version: 1 estimates from the likeliest tokens, as Zipf's law has it, how many to keep; 2 looks at each.
    Source: arXiv:2007.14966 (1), and https://github.com/basusourya/mirostat (2).
    """
    bits = -row.log_softmax(-1) / math.log(2)
    if version == 1:
        count = _zipf_count(bits, mu)
        row[bits.argsort(stable=True)[count:]] = -torch.inf
    else:
        best = row.argmax()
        kept = row[best].clone()
        row.masked_fill_(bits > mu, -torch.inf)
        row[best] = kept
    return row.log_softmax(-1) / math.log(2)


def _zipf_count(bits: Tensor, mu: float, num_looked_at: int = 100) -> int:
    """How many of the likeliest tokens give a surprise of mu, if their probabilities follow Zipf's law."""
    finite = bits[bits < torch.inf].double()
    logs = -finite.sort().values[:num_looked_at] * math.log(2)
    ranks = torch.arange(1, len(logs) + 1, dtype=torch.float64).log()
    steps = ranks[1:] - ranks[:-1]
    exponent = float((steps * (logs[:-1] - logs[1:])).sum() / (steps * steps).sum()) if len(logs) > 1 else 0.0
    if exponent < 1e-3:                                      # all tokens are equally likely
        return len(finite)
    epsilon, vocab = exponent - 1, len(finite)
    scale = epsilon / (1 - vocab ** -epsilon) if abs(epsilon) > 1e-6 else 1 / math.log(vocab)
    size = (math.log(scale) + mu * math.log(2)) / exponent
    return int(min(max(math.exp(min(size, 40.0)), 1), vocab))

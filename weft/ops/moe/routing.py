"""`Routing`: the rule that chooses each token's experts and their weights, for every kernel of the mixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from weft.ops.activation import ClampedGLU

_LEAST = 1e-20      # added to a sum of weights, because a sum of sigmoids may be 0


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=-1)


def _sigmoid(logits: Tensor) -> Tensor:
    """A sigmoid that rounds all rows alike: a softmax over the logits and a 0, from which each sigmoid follows. Torch's
    sigmoid rounds a number depending on its place in memory.
    """
    weights = pad(logits.double(), (0, 1)).softmax(dim=-1)
    of_each, of_zero = weights[..., :-1], weights[..., -1:]
    return (of_each / (of_each + of_zero)).float()


class Routed(NamedTuple):
    """Each token's experts. weights: [T, K] float32. experts: [T, K] int64, expert ids."""

    weights: Tensor
    experts: Tensor


SCORES: dict[str, Callable[[Tensor], Tensor]] = {"softmax": _softmax, "sigmoid": _sigmoid}


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """A token takes the `top_k` experts with the largest scores; `renormalize` rescales their weights to the sum 1.

    act: the experts' activation, a name of ops/activation. gated: act(gate) * up, else act(up) alone.
    scores: "softmax" over all experts, "sigmoid" of each, or "sparsemixer" (see `sparsemixer`). jitter: of the last.
    num_groups: experts form equal groups, and a token takes experts of its `groups_per_token` best groups only. A group
        is ranked by the sum of its `group_best` largest scores.
    choice_bias: [X] float32, added to the scores for the choice only, not for the weights. chooses_by: "scores", or
        "logits" to which it is added instead. softcap: logits become softcap * tanh(logits / softcap) first.
    Source: arXiv:2405.04434 section 2.2.2, arXiv:2412.19437 section 2.1.2.
    """

    top_k: int
    renormalize: bool
    act: str | ClampedGLU
    scores: Literal["softmax", "sigmoid", "sparsemixer"] = "softmax"
    jitter: float = 0.0
    num_groups: int = 1
    groups_per_token: int = 1
    group_best: int = 1
    chooses_by: str = "scores"
    softcap: float | None = None
    choice_bias: Tensor | None = field(default=None, compare=False)
    gated: bool = True

    @property
    def is_plain(self) -> bool:
        """True for softmax and top-k without groups and bias, which native kernels compute themselves."""
        return (self.scores == "softmax" and self.num_groups == 1 and self.choice_bias is None
                and self.softcap is None)

    def route(self, router_logits: Tensor | Routed) -> Routed:
        """router_logits [T, X] -> each token's experts. What is routed already stays as it is."""
        if isinstance(router_logits, Routed):
            return router_logits
        logits = router_logits.float()
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        if self.scores == "sparsemixer":
            return sparsemixer(logits, self.jitter)
        scores = SCORES[self.scores](logits)
        ranked = logits if self.chooses_by == "logits" else scores
        choice = ranked if self.choice_bias is None else ranked + self.choice_bias
        experts = self._best_groups(choice).topk(self.top_k, dim=-1).indices
        weights = scores.gather(-1, experts)
        return Routed(weights / (weights.sum(-1, keepdim=True) + _LEAST) if self.renormalize else weights, experts)

    def _best_groups(self, choice: Tensor) -> Tensor:
        """The scores [T, X] for choosing, with -inf for experts outside each token's best groups."""
        if self.num_groups == 1:
            return choice
        grouped = choice.unflatten(-1, (self.num_groups, -1))
        quality = grouped.topk(self.group_best, dim=-1).values.sum(-1)                     # [T, groups]
        best = quality.topk(self.groups_per_token, dim=-1).indices
        is_best = torch.zeros_like(quality, dtype=torch.bool).scatter_(-1, best, True)
        return grouped.masked_fill(~is_best.unsqueeze(-1), -torch.inf).flatten(-2)


def sparsemixer(logits: Tensor, jitter: float) -> Routed:
    """Two experts for each row of logits [T, X]: the best, then the best of the others.

    An expert's weight is its softmax over the logits that lie at most 2 * jitter below it, relative to the larger
    magnitude; the first is not among the second's. Source: arXiv:2409.12136, Phi-3.5 MoE.
    """
    picked, weights, left = [], [], logits
    for _ in range(2):
        best, expert = left.max(dim=-1, keepdim=True)
        far = (best - logits) / logits.abs().clamp(min=best) > 2 * jitter
        weights.append(left.masked_fill(far, -torch.inf).softmax(dim=-1).gather(-1, expert))
        picked.append(expert)
        left = left.scatter(-1, expert, -torch.inf)
    return Routed(torch.cat(weights, dim=-1), torch.cat(picked, dim=-1))

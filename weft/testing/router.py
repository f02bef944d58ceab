"""Tells why a mixture of experts differs: its router's choice and weights, or the experts themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.layers.mlp import MoE
from weft.testing.calls import Call
from weft.testing.diagnosis import difference, ratio
from weft.testing.reference import Trace


def router_logits(reference: nn.Module, name: str, trace: Trace, num_tokens: int) -> Tensor | None:
    """[T, X]: the logits of a router of Transformers, of its weight and its input, as it may give something else."""
    weight = getattr(reference.get_submodule(name), "weight", None)
    given = trace.input(name, num_tokens)
    if given is None:
        return trace.output(name, num_tokens)
    return None if weight is None else F.linear(given, weight.float())


def experts_kind(part: MoE, call: Call, theirs: Tensor, chosen: Sequence[Tensor],
                 logits: Tensor | None, tolerance: float) -> tuple[str, str]:
    """(name of the part within the mixture, kind of fault). chosen: what Transformers' router gave."""
    factor = ratio(call.result, theirs)
    if factor is not None and part.shared is None:
        return "router", f"scale of the experts' sum: results are {factor:.6g} times Transformers'"
    wanted = None if logits is None else _dense(chosen, logits.shape)
    if wanted is None or logits is None:
        return "experts", "routing (number of experts, scores, renormalize, scale) or the experts' weights"
    weights, experts = part.routing.route(logits)
    mine = torch.zeros_like(logits).scatter(1, experts.long(), weights.float())
    if min(difference(mine, wanted), difference(mine * part.spec.scale, wanted)) <= tolerance:
        return "experts", "weights or activation of the experts, or the shared expert"
    if not torch.equal(mine != 0, wanted != 0):
        return "router", "router: number of experts a token, scores, groups or the bias for choosing"
    return "router", "router: renormalize, scores or scale of the experts' weights"


def _dense(chosen: Sequence[Tensor], shape: Sequence[int]) -> Tensor | None:
    """[T, X]: the weight of each expert, from a router's weights [T, K] and numbers [T, K]; None without these."""
    numbers = [x for x in chosen if not x.is_floating_point() and x.dim() == 2 and len(x) == shape[0]]
    if not numbers:
        return None
    weights = [x for x in chosen if x.is_floating_point() and x.shape == numbers[0].shape]
    if not weights:
        return None
    return torch.zeros(tuple(shape)).scatter(1, numbers[0].long(), weights[-1].float())

"""`Pooler`: from a prompt's final states to what was asked for: one vector, or the states themselves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.architectures.spec import PoolerSpec
from weft.pooling_params import PoolingParams


class Pooler:
    """The pooling of one model. It has no weights."""

    def __init__(self, spec: PoolerSpec) -> None:
        self.spec = spec
        self._pool = {"cls": _first, "last": _last, "mean": _mean}[spec.kind]

    def __call__(self, states: Tensor, params: PoolingParams) -> Tensor:
        """States [T, E] of a whole prompt -> float32 [E] for the task "embed", [T, E] for "token_embed"."""
        pools = params.task == "embed"
        pooled = self._pool(states) if pools else states.float()
        normalize = params.use_activation
        if normalize is None:
            normalize = pools and self.spec.normalize
        return F.normalize(pooled, dim=-1) if normalize else pooled


def _first(states: Tensor) -> Tensor:
    return states[0].float()


def _last(states: Tensor) -> Tensor:
    return states[-1].float()


def _mean(states: Tensor) -> Tensor:
    return states.mean(dim=0, dtype=torch.float32)

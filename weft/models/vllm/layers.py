"""Layers that do in files written for vLLM what vLLM's do, where that is more than a layer of weft allows."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from torch import Tensor

from weft.layers.public import Attention as PublicAttention
from weft.layers.public import RMSNorm as PublicRMSNorm

logger = logging.getLogger("weft")


class RMSNorm(PublicRMSNorm):
    """With a residual, results replace the inputs, as those of vLLM's kernel do: some files go on with `x` itself."""

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """As RMSNorm of weft; with a residual, x becomes the norm and residual the sum, and both are returned."""
        if residual is None or x.data_ptr() == residual.data_ptr():
            return super().forward(x, residual)
        self.check_pair(x, residual)
        rows, others = self._rows(x), self._rows(residual)
        out, total = self.normalise.add(rows, others, rows, others)
        for given, made in ((x, out), (residual, total)):
            if made.data_ptr() != given.data_ptr():      # a kernel that makes new tensors, or rows that had gaps
                given.copy_(made.view(given.shape))
        return x, residual


class Attention(PublicAttention):
    """May be called several times in a step, as by models whose blocks repeat: each call writes the step's keys anew.

    So the cache keeps the keys of a token's last call, and later tokens see these in each of their calls.
    """

    def note_call(self, memo: dict[Any, Any]) -> None:
        """Say once that there are several calls."""
        if self in memo:
            _say_repeated(self.layer_name)
        memo[self] = True


@cache
def _say_repeated(name: str) -> None:
    logger.warning("Attention %s is called several times in a step. Its cache keeps the keys of the last call, so "
                   "answers may depend on how a prompt is cut into chunks.", name)

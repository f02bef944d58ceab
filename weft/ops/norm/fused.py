"""The norms by torch's functions. They round once, at the end, whatever `cast_before_weight` says."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from weft.ops.norm.reference import ReferenceNorm


class FusedNorm(ReferenceNorm):
    """As ReferenceNorm with offset 0."""

    def norm(self, x: Tensor) -> Tensor:
        """[..., N] -> [..., N]."""
        if self.options.centred:
            return layer_norm(x, self.weight, self.bias, self.options.eps)
        return rms_norm(x, self.weight, self.options.eps)


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """As `reference.rms_norm` with offset 0."""
    if weight is not None and weight.dim() > 1:                # a weight [H, D]: torch would normalise over all of it
        return F.rms_norm(x, (x.shape[-1],), None, eps) * weight
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """As `reference.layer_norm`."""
    if weight is not None and weight.dim() > 1:
        out = F.layer_norm(x, (x.shape[-1],), None, None, eps) * weight
        return out if bias is None else out + bias
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps)

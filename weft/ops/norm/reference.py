"""The definition of the norms, in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.norm.options import NormOptions


class ReferenceNorm:
    """A norm with its weight and bias, [N] or broadcast against x's last dimensions, or None."""

    def __init__(self, weight: Tensor | None, bias: Tensor | None, options: NormOptions) -> None:
        self.weight, self.bias, self.options = weight, bias, options

    def __call__(self, x: Tensor, out: Tensor | None = None, residual: Tensor | None = None,
                 alpha: float = 1.0) -> Tensor:
        """x [..., N] -> [..., N]. out: memory that may be used for the result. With a residual, returns residual +=
        alpha * result, in place.
        """
        result = self.norm(x)
        return result if residual is None else residual.add_(result, alpha=alpha)

    def add(self, x: Tensor, residual: Tensor, out: Tensor | None = None,
            total: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(norm(x + residual), x + residual), [..., N] each. out, total: memory that may be used for the results."""
        total = x + residual
        return self.norm(total), total

    def norm(self, x: Tensor) -> Tensor:
        """[..., N] -> [..., N]."""
        o = self.options
        if o.centred:
            return layer_norm(x, self.weight, self.bias, o.eps, o.offset)
        return rms_norm(x, self.weight, o.eps, o.offset, o.cast_before_weight)


def rms_norm(x: Tensor, weight: Tensor | None, eps: float, offset: float, cast_before_weight: bool) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * (offset + weight) over the last dimension.

    Args:
        x: [..., N]. weight: broadcast against x's last dimensions; None for no factor.
        cast_before_weight: round the normalised x to x's dtype before the product (Llama), else after it (Gemma).
    Source: arXiv:1910.07467.
    """
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight is None:
        return wide.to(x.dtype)
    if cast_before_weight:
        return wide.to(x.dtype) * (offset + weight)
    return (wide * (offset + weight.float())).to(x.dtype)


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, offset: float = 0.0) -> Tensor:
    """(x - mean) / sqrt(var + eps) * (offset + weight) + bias over the last dimension. Source: arXiv:1607.06450."""
    wide = x.float()
    wide = wide - wide.mean(-1, keepdim=True)
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        wide = wide * (offset + weight.float())
    if bias is not None:
        wide = wide + bias.float()
    return wide.to(x.dtype)

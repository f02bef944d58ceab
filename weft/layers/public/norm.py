"""The norms of foreign models."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weft.architectures import spec
from weft.layers.context import LayerContext
from weft.layers.norm import Norm
from weft.layers.public.layer import PublicLayer, StepRef, check_input, unsupported


class RMSNorm(PublicLayer):
    """x / rms(x) * weight over the last dimension. Source: arXiv:1910.07467; arguments as vLLM's class of this name."""

    offset = 0.0
    cast_before_weight = True

    def __init__(self, hidden_size: int, eps: float = 1e-6, var_hidden_size: int | None = None,
                 has_weight: bool = True, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        unsupported(type(self).__name__, var_hidden_size=None if var_hidden_size == hidden_size else var_hidden_size)
        self.params_dtype = dtype or self.params_dtype
        self.hidden_size, self.variance_epsilon = hidden_size, eps
        self.weight = self.new_parameter(hidden_size) if has_weight else None
        self._inner: tuple[Norm, ...] = ()

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        part = spec.RMSNorm(eps=self.variance_epsilon, offset=self.offset, cast_before_weight=self.cast_before_weight)
        self._inner = (Norm(part, self.hidden_size, context=context),)
        self.choice = self._inner[0].choice

    def finish_loading(self) -> None:
        """As Layer. The kernel may keep a copy; `weight` stays as it was loaded."""
        (inner,) = self._inner
        if self.weight is None:
            inner.weight = nn.Parameter(torch.ones(self.hidden_size, dtype=self.bound().dtype) - self.offset, False)
        else:
            inner.weight = nn.Parameter(self.weight.data, requires_grad=False)
        inner.finish_loading()

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """[..., hidden_size], the same; with a residual (norm(x + residual), x + residual)."""
        context = self.bound()
        check_input(self, "x", x, self.hidden_size, context)
        if residual is None:
            return self._norm(x)
        check_input(self, "residual", residual, self.hidden_size, context)
        total = x + residual
        return self._norm(total), total

    def _norm(self, x: Tensor) -> Tensor:
        return self._inner[0].normalise(x.reshape(-1, self.hidden_size)).view(x.shape)


class GemmaRMSNorm(RMSNorm):
    """x / rms(x) * (1 + weight), rounded once at the end. Source: Gemma, arXiv:2403.08295."""

    offset = 1.0
    cast_before_weight = False

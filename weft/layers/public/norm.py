"""The norms of foreign models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from weft.layers.context import LayerContext
from weft.layers.public.layer import PublicLayer, StepRef, check_input, check_sizes, unsupported
from weft.ops.copy_rows import CopyCase, choose_copy
from weft.ops.norm import NormCase, NormOptions, choose_norm


class RMSNorm(PublicLayer):
    """x / rms(x) * weight over the last dimension. Source: arXiv:1910.07467; arguments as vLLM's class of this name."""

    offset = 0.0
    cast_before_weight = True

    def __init__(self, hidden_size: int, eps: float = 1e-6, var_hidden_size: int | None = None,
                 has_weight: bool = True, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        unsupported(type(self).__name__, var_hidden_size=None if var_hidden_size == hidden_size else var_hidden_size)
        check_sizes(self, hidden_size=hidden_size)
        self.params_dtype = dtype or self.params_dtype
        self.hidden_size, self.variance_epsilon = hidden_size, eps
        self.weight = self.new_parameter(hidden_size) if has_weight else None
        self.normalise: Any = None                            # what the kernel makes of the weight

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        self.options = NormOptions(centred=False, eps=self.variance_epsilon, offset=self.offset,
                                   cast_before_weight=self.cast_before_weight)
        self.choice = choose_norm(NormCase(device=context.device, dtype=context.dtype, options=self.options,
                                           isa=context.isa))
        self.copy_choice = choose_copy(CopyCase(device=context.device, dtype=context.dtype, isa=context.isa))

    def finish_loading(self) -> None:
        """As Layer."""
        weight = None if self.weight is None else self.weight.data
        self.normalise = self.choice.prepare(weight, None, self.options)
        if weight is not None:
            self.keep("weight", lambda: weight)
        super().finish_loading()

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """[..., hidden_size], the same; with a residual (norm(x + residual), x + residual). Inputs stay as they are."""
        if residual is None:
            check_input(self, "x", x, self.ready(), self.hidden_size)
            return self._norm(x)
        self.check_pair(x, residual)
        out, total = self.normalise.add(self._rows(x), self._rows(residual))
        return out.view(x.shape), total.view(x.shape)

    def check_pair(self, x: Tensor, residual: Tensor) -> None:
        """ValueError for tensors that do not fit the layer or each other."""
        context = self.ready()
        check_input(self, "x", x, context, self.hidden_size)
        check_input(self, "residual", residual, context, self.hidden_size)
        if residual.shape != x.shape:
            raise ValueError(f"{type(self).__name__}: residual is {list(residual.shape)}, expected {list(x.shape)} "
                             "like x")

    def _norm(self, x: Tensor) -> Tensor:
        return self.normalise(self._rows(x)).view(x.shape)

    def _rows(self, x: Tensor) -> Tensor:
        """[..., N] -> [rows, N]. Heads of a wider row (q within qkv) are copied by a kernel, which can be recorded."""
        size = self.hidden_size
        if x.dim() == 3 and x.stride()[1:] == (size, 1) and x.stride(0) > x.shape[1] * size and len(x) > 1:
            packed = torch.empty(x.shape, dtype=x.dtype, device=x.device)
            self.copy_choice.run(x.flatten(1), packed.flatten(1))
            x = packed
        return x.reshape(-1, size)


class GemmaRMSNorm(RMSNorm):
    """x / rms(x) * (1 + weight), rounded once at the end. Source: Gemma, arXiv:2403.08295."""

    offset = 1.0
    cast_before_weight = False

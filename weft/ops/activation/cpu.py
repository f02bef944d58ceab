"""Activations by weft's native kernel (csrc/act.h). Bound: memory bandwidth, reading x and writing the result."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.native import DTYPES, kernels

# The kernels' numbers of activations, Act in csrc/limits.h, by all names that ops/activation knows.
ACTS = {None: 0, "silu": 1, "swish": 1, "gelu": 2, "gelu_new": 3, "gelu_fast": 3, "gelu_pytorch_tanh": 3,
        "quick_gelu": 4, "relu": 5, "relu2": 6, "tanh": 7, "sigmoid": 8}


class NativeActivation:
    """act(x), or act(gate) * up; computed in float32 and rounded once."""

    def __init__(self, act: str | None, gated: bool, isa: str) -> None:
        self._run, self._act, self._gated = kernels(isa).activation, ACTS[act], gated

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """[T, F] (gated: [T, 2F], gate first) -> [T, F] in x's dtype; written to `out` if that is given."""
        if x.stride(1) != 1:
            x = x.contiguous()
        rows, width = x.shape
        width = width // 2 if self._gated else width
        if out is None:
            out = torch.empty(rows, width, dtype=x.dtype)
        self._run(self._act, self._gated, x.data_ptr(), DTYPES[x.dtype], rows, width, x.stride(0), out.data_ptr(),
                  out.stride(0))
        return out

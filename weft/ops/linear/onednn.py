"""Linear layers by oneDNN on weights packed once at load, through the operators that torch's compiler uses for it.

What runs bfloat16 where weft's own kernels are not installed. torch's own linear takes plain weights and reads them
less well: one row took 31 ms against 20 ms here (0.9 GB, two cores of an EPYC).
"""

from __future__ import annotations

import torch
from torch import Tensor

from weft.errors import NotBuiltError
from weft.ops.linear.product import Epilogue
from weft.ops.linear.reference import TorchProduct

_ROWS = 32                     # what the packing is told to expect; the layouts for 1, 32 and 512 measured the same


def is_available() -> bool:
    """True when this torch and this processor can."""
    operators = torch.ops.mkldnn
    return (torch.backends.mkldnn.is_available() and hasattr(operators, "_reorder_linear_weight")
            and hasattr(operators, "_linear_pointwise") and operators._is_mkldnn_bf16_supported())


class OneDNNProduct(TorchProduct):
    """A Product on a copy of the weight in oneDNN's own layout; its shape and type still say [N, K] bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor | None, epilogue: Epilogue) -> None:
        super().__init__(torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS), bias, epilogue)

    def multiply(self, x: Tensor) -> Tensor:
        """As TorchProduct."""
        # Named in full: to look for the overload in each call would take as long as a small product.
        return torch.ops.mkldnn._linear_pointwise.default(x, self.weight, self.bias, "none", [], "")

    def rows(self, ids: Tensor) -> Tensor:
        """Not to be had of this layout: choose_linear does not choose it for tables."""
        raise NotBuiltError("rows", "onednn", expected="a kernel that keeps rows readable")

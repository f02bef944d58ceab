"""Linear layers by oneDNN on weights packed once at load, through the operators that torch's compiler uses.

This kernel runs bfloat16 layers where weft's own kernels are not installed. torch's linear layer reads unpacked
weights, which is slower: one row took 31 ms against 20 ms here (0.9 GB of weights, two cores of an EPYC).
"""

from __future__ import annotations

import torch
from torch import Tensor

from weft.errors import NotBuiltError
from weft.ops.linear.product import Epilogue
from weft.ops.linear.reference import TorchProduct

_ROWS = 32                     # rows of x that the packing is made for; packings for 1, 32 and 512 were equally fast


def is_available() -> bool:
    """True when this torch has oneDNN's operators and this processor has bfloat16 products."""
    operators = torch.ops.mkldnn
    return (torch.backends.mkldnn.is_available() and hasattr(operators, "_reorder_linear_weight")
            and hasattr(operators, "_linear_pointwise") and operators._is_mkldnn_bf16_supported())


class OneDNNProduct(TorchProduct):
    """A Product on a copy of the weight in oneDNN's layout, a tensor that still reports [N, K] bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor | None, epilogue: Epilogue) -> None:
        super().__init__(torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS), bias, epilogue)

    def multiply(self, x: Tensor) -> Tensor:
        """As TorchProduct."""
        # `.default` names the overload: a search for it in each call takes as long as a small product.
        return torch.ops.mkldnn._linear_pointwise.default(x, self.weight, self.bias, "none", [], "")

    def rows(self, ids: Tensor) -> Tensor:
        """NotBuiltError: the layout has no readable rows. choose_linear does not choose this kernel for tables."""
        raise NotBuiltError("rows", "onednn", expected="a kernel that keeps rows readable")

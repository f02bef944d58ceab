"""The definition of a linear layer and what may follow it in the same pass, by torch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from weft.ops.activation import activation
from weft.ops.linear.product import Epilogue


class TorchProduct:
    """A Product on the weight as it is, [N, K] in the model's dtype; bias [N] or None."""

    def __init__(self, weight: Tensor, bias: Tensor | None, epilogue: Epilogue) -> None:
        self.weight, self.bias, self.epilogue = weight, bias, epilogue
        self.act = activation(epilogue.act) if epilogue.act is not None else None

    def __call__(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0,
                 out: Tensor | None = None) -> Tensor:
        """As Product."""
        result = finished(self.multiply(x), self.act, self.epilogue)
        return result if residual is None else residual.add_(result, alpha=alpha)

    def multiply(self, x: Tensor) -> Tensor:
        """x @ weight.T + bias."""
        return F.linear(x, self.weight, self.bias)

    def rows(self, ids: Tensor) -> Tensor:
        """As Product."""
        return F.embedding(ids, self.weight)


def finished(product: Tensor, act, epilogue: Epilogue) -> Tensor:
    """Activation and gate of [T, N]; act: the function, or None."""
    if epilogue.gated:
        gate, up = product.chunk(2, dim=-1)
        product = act(gate).mul_(up)
    elif act is not None:
        product = act(product)
    return product if product.dtype == epilogue.out_dtype else product.to(epilogue.out_dtype)

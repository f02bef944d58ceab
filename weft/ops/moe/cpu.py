"""The mixture of experts by weft's native kernel (csrc/moe.h): routing, products and weighted sum in one call.

Torch does the routing before the call, unless it is plain: softmax and top-k. Bound: memory for few tokens; only the
weights of experts in use are read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weft.ops.activation.cpu import ACTS
from weft.ops.linear import Epilogue
from weft.ops.linear.cpu import NativeProduct, dense_product, quantized_product, refuses_quantized
from weft.ops.moe.routing import Routed, Routing
from weft.ops.native import DTYPES, extension, kernels
from weft.ops.nodes import MemoryNodes
from weft.ops.quantized import QuantizedWeight, quantize

# A matrix [N, K] of each expert: floats [X, N, K], or quantized.
Experts = Tensor | Sequence[QuantizedWeight]


class NativeExperts:
    """A kernel with the contract of ReferenceExperts, on matrices packed expert by expert."""

    def __init__(self, gate_up: Experts, down: Experts, routing: Routing, isa: str, dtype: torch.dtype,
                 quantization: str | None, nodes: MemoryNodes | None = None, *,
                 int8_activations: bool = False) -> None:
        self._moe, self._routing, self._dtype = kernels(isa).moe, routing, dtype
        self._experts, self._products = extension().Experts(), []
        gate, plain = Epilogue(out_dtype=dtype, gated=True), Epilogue(out_dtype=dtype)
        for up, out in zip(gate_up, down, strict=True):
            products = [_product(matrix, epilogue, isa, dtype, quantization, nodes, int8_activations)
                        for matrix, epilogue in ((up, gate), (out, plain))]
            self._experts.add(*(product.weight for product in products))
            self._products += products
        self._act, self._type, self._num_experts = ACTS[routing.act], DTYPES[dtype], len(gate_up)

    def __call__(self, x: Tensor, router_logits: Tensor | Routed, residual: Tensor | None = None,
                 alpha: float = 1.0) -> Tensor:
        """As ReferenceExperts, with x and router_logits in the model's dtype. ValueError for another dtype or shape."""
        is_routed = isinstance(router_logits, Routed)
        logits = None if is_routed else self._checked(x, router_logits)
        if is_routed and (x.dtype != self._dtype or len(router_logits.experts) != len(x)):
            raise ValueError(f"x is {x.dtype} {list(x.shape)}, expected {self._dtype} and a row for each routed token")
        x = x.contiguous()
        out = torch.empty_like(x) if residual is None else residual
        routed = None if logits is not None and self._routing.is_plain else self._route(router_logits)
        ids_at, weights_at = (0, 0) if routed is None else (routed[0].data_ptr(), routed[1].data_ptr())
        self._moe(self._experts, self._routing.top_k, self._routing.renormalize, self._act, x.data_ptr(),
                  0 if logits is None else logits.data_ptr(), ids_at, weights_at, self._type, x.shape[0],
                  0 if residual is None else out.data_ptr(), alpha, out.data_ptr())
        return out

    def matrices(self, name: str) -> Tensor:
        """As ReferenceExperts: copies of what the kernel packed."""
        products = self._products[{"gate_up": 0, "down": 1}[name] :: 2]
        return torch.stack([product.rows(torch.arange(product.shape[0])) for product in products])

    def _checked(self, x: Tensor, router_logits: Tensor) -> Tensor:
        if x.dtype != self._dtype or router_logits.dtype != self._dtype:
            raise ValueError(f"x is {x.dtype}, router_logits {router_logits.dtype}; both have to be {self._dtype}")
        if router_logits.shape != (x.shape[0], self._num_experts):
            raise ValueError(f"router_logits is {list(router_logits.shape)}, not {[x.shape[0], self._num_experts]}")
        return router_logits.contiguous()

    def _route(self, router_logits: Tensor | Routed) -> tuple[Tensor, Tensor]:
        """(expert ids [T, K] int32, weights [T, K] float32)."""
        weights, experts = self._routing.route(router_logits)
        return experts.int().contiguous(), weights.float().contiguous()


def _product(weight: Tensor | QuantizedWeight, epilogue: Epilogue, isa: str, dtype: torch.dtype,
             quantization: str | None, nodes: MemoryNodes | None, int8_activations: bool) -> NativeProduct:
    if isinstance(weight, Tensor) and quantization is not None:
        weight = quantize(weight, quantization)
    if isinstance(weight, QuantizedWeight):
        if refuses_quantized(weight.shape[1], weight.group_size) is None:
            return quantized_product(weight, None, epilogue, isa, dtype, nodes, int8_activations=int8_activations)
        weight = weight.dequantize(dtype)
    return dense_product(weight, None, epilogue, isa, nodes)

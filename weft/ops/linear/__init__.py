"""Linear layers: x @ weight.T + bias and the epilogue. `reference.py` is the definition; weft's kernels are in `cpu.py`
and, for integers (w8a8), in `integers.py`; `onednn.py` has torch's.

A kernel's `prepare(weight, bias, epilogue)` makes a `Product` of a loaded weight: floats, a QuantizedWeight, or a list
of these whose rows follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from weft.ops.activation import ActivationCase, choose_activation
from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.linear import cpu, integers, onednn, reference
from weft.ops.linear.product import Epilogue, Product
from weft.ops.native import unavailable
from weft.ops.nodes import MemoryNodes
from weft.ops.quantized import QuantizedWeight, quantize
from weft.ops.quantized.quantize import group_size

__all__ = ["Epilogue", "LinearCase", "Product", "choose_linear", "empty_weight", "product_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearCase:
    """The properties that decide which linear kernel a layer can run.

    isa: ISA level of the native kernels, or "reference". is_table: an embedding also reads rows of the weight.
    quantization: the method of ops/quantized by which a loaded weight is quantized, or None.
    activation_dtype: "int8": x is quantized to 8 bits, a block of columns at a time, where the weight is quantized.
    nodes: the memory nodes that a native kernel's packed weight is divided among; None: one node.
    """

    device: str
    dtype: torch.dtype
    in_features: int
    out_features: int
    isa: str = "reference"
    gated: bool = False
    is_table: bool = False
    quantization: str | None = None
    activation_dtype: str | None = None
    nodes: MemoryNodes | None = field(default=None, compare=False, repr=False)


BFLOAT16_PRODUCTS = ("avx512_bf16", "amx")       # ISA levels that multiply bfloat16; others widen x to float32


def _native_refuses(case: LinearCase) -> str | None:
    reason = unavailable(case.device, case.isa)
    if reason is not None:
        return reason
    if case.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"{case.dtype}"
    if case.quantization == "w8a8":
        return integers.refuses(case.in_features)
    if case.in_features % 2 and (case.dtype != torch.float32 or case.quantization):
        return f"{case.in_features} columns: not even"
    if case.quantization is not None:
        return cpu.refuses_quantized(case.in_features, group_size(case.quantization, case.in_features))
    return None


def _onednn_refuses(case: LinearCase) -> str | None:
    if case.is_table:
        return "the embedding reads the same table"
    if case.device != "cpu" or case.dtype != torch.bfloat16:
        return "for bfloat16 on CPUs"
    if case.quantization == "w8a8":
        return "activations of 8 bits"
    if case.activation_dtype == "int8" and case.quantization is not None:
        return "activations of 8 bits"
    return None if onednn.is_available() else "this processor has no bfloat16 products, or this torch no oneDNN"


def choose_linear(case: LinearCase) -> Choice:
    """The kernel whose `prepare(weight, bias, epilogue)` makes the Product of a layer."""
    return choose("linear", (
        Kernel("native", refuses=_native_refuses, prepare=partial(_native, case)),
        Kernel("onednn", refuses=_onednn_refuses, prepare=partial(_torch, case, onednn.OneDNNProduct)),
        Kernel("torch", refuses=never, prepare=partial(_torch, case, reference.TorchProduct)),
    ), case)


def empty_weight(case: LinearCase) -> Tensor:
    """An empty [N, K] to load a weight into, with padding so that native kernels can pack it in place."""
    return cpu.padded_empty(case.out_features, case.in_features, case.dtype, case.device)


def product_bytes(case: LinearCase, codes: QuantizedWeight | None = None) -> int:
    """Bytes of the Product that the case's kernel makes of a weight without bias.

    codes: one row in the format of a weight that is loaded quantized (its values do not matter); None: floats.
    """
    rows, columns = case.out_features, case.in_features
    floats = -(-rows // cpu.ROW_PADDING) * cpu.ROW_PADDING * columns * case.dtype.itemsize       # as empty_weight
    if choose_linear(case).name != "native":
        is_coded = case.quantization == "w8a8" if codes is None else codes.int8_activations
        return rows * (columns + 4) if is_coded else floats
    if codes is None and case.quantization is not None:
        codes = quantize(torch.zeros(1, columns), case.quantization)
    if codes is not None:
        if codes.int8_activations and integers.refuses(columns) is None:
            return integers.packed_bytes(rows, columns)
        if cpu.refuses_quantized(columns, codes.group_size) is None:
            return cpu.packed_bytes(rows, codes)
    return floats


def _native(case: LinearCase, weight: Tensor | QuantizedWeight | list[Tensor | QuantizedWeight], bias: Tensor | None,
            epilogue: Epilogue) -> Product:
    if isinstance(weight, list):
        if not epilogue.gated:
            return cpu.NativeParts([_native_matrix(case, *part, epilogue) for part in _with_biases(weight, bias)])
        weight = _as_floats(case, weight)                     # both halves of a gate are one product
    if epilogue.gated and case.out_features % 64:             # no panel border between the halves: a second call gates
        assert epilogue.act is not None, "a linear layer's gate has an activation"
        gate = ActivationCase(device=case.device, dtype=case.dtype, act=epilogue.act, gated=True, isa=case.isa)
        plain = _native_matrix(case, weight, bias, Epilogue(out_dtype=case.dtype))
        return cpu.NativeGate(plain, choose_activation(gate).run)
    return _native_matrix(case, weight, bias, epilogue)


def _native_matrix(case: LinearCase, weight: Tensor | QuantizedWeight, bias: Tensor | None,
                   epilogue: Epilogue) -> cpu.NativeProduct:
    if isinstance(weight, Tensor) and case.quantization is not None:
        weight = quantize(weight, case.quantization)
    if isinstance(weight, QuantizedWeight):
        if weight.int8_activations and integers.refuses(weight.shape[1]) is None:
            return integers.integer_product(weight, bias, epilogue, case.isa, case.dtype, case.nodes)
        if cpu.refuses_quantized(weight.shape[1], weight.group_size) is None:
            return cpu.quantized_product(weight, bias, epilogue, case.isa, case.dtype, case.nodes,
                                         int8_activations=case.activation_dtype == "int8")
        weight = weight.dequantize(case.dtype)
    return cpu.dense_product(weight, bias, epilogue, case.isa, case.nodes)


def _torch(case: LinearCase, make: type[reference.TorchProduct], weight: Tensor | QuantizedWeight | list,
           bias: Tensor | None, epilogue: Epilogue) -> reference.TorchProduct:
    if isinstance(weight, list):
        if epilogue.gated:
            return _torch(case, make, _as_floats(case, weight), bias, epilogue)
        return reference.TorchParts([_torch(case, make, *part, epilogue) for part in _with_biases(weight, bias)],
                                    epilogue)
    if isinstance(weight, Tensor) and case.quantization is not None:
        weight = quantize(weight, case.quantization)
    if isinstance(weight, QuantizedWeight):
        if weight.int8_activations:
            return reference.IntegerProduct(weight, bias, epilogue)
        if case.activation_dtype == "int8" and cpu.refuses_blocks(weight.shape[1]) is None:
            return reference.BlockProduct(weight, bias, epilogue)
        weight = weight.dequantize(case.dtype)
    return make(weight, bias, epilogue)


def _as_floats(case: LinearCase, weights: Sequence[Tensor | QuantizedWeight]) -> Tensor:
    return torch.cat([w.dequantize(case.dtype) if isinstance(w, QuantizedWeight) else w for w in weights])


def _with_biases(weights: Sequence[Tensor | QuantizedWeight],
                 bias: Tensor | None) -> Iterator[tuple[Tensor | QuantizedWeight, Tensor | None]]:
    """Yield (weight, its part of the bias) for each part."""
    biases = [None] * len(weights) if bias is None else bias.split([w.shape[0] for w in weights])
    return zip(weights, biases, strict=True)

"""Linear layers in integers (w8a8) by weft's native kernels (csrc/integer_product.h): weights and x in 8 bits.

`reference.IntegerProduct` is the definition. Bound: memory for few rows, half the bytes that bfloat16 reads; the
processor's products of bytes for many rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.linear.cpu import ROW_PADDING, NativeProduct, packed_scales, placed_nodes
from weft.ops.linear.product import Epilogue
from weft.ops.native import extension
from weft.ops.nodes import MemoryNodes
from weft.ops.quantized import QuantizedWeight

MOST_COLUMNS = 1 << 17         # sums of this many products of at most 127 * 128 stay in 32 bits
KIND, COLUMN_PADDING = 9, 64   # W_S8 of csrc/kernels.h; INTEGER_COLUMNS of csrc/limits.h


def refuses(columns: int) -> str | None:
    """Why the kernels cannot sum the products of `columns` columns; None when they can."""
    return f"{columns} columns: sums of more than {MOST_COLUMNS} leave 32 bits" if columns > MOST_COLUMNS else None


def packed_bytes(rows: int, columns: int) -> int:
    """Bytes of an integer product without bias: codes, a 4-byte scale and a 4-byte sum for each row."""
    padded, wide = (-(-size // by) * by for size, by in ((rows, ROW_PADDING), (columns, COLUMN_PADDING)))
    return padded * (wide + 8)


def integer_product(weight: QuantizedWeight, bias: Tensor | None, epilogue: Epilogue, isa: str,
                    dtype: torch.dtype, nodes: MemoryNodes | None = None) -> NativeProduct:
    """Pack a weight with int8_activations and return its product. dtype: x's. Only where `refuses` returns None."""
    rows, columns = weight.shape
    padded, wide = (-(-size // by) * by for size, by in ((rows, ROW_PADDING), (columns, COLUMN_PADDING)))
    panels, sums = torch.empty(padded * wide, dtype=torch.uint8), torch.empty(padded, dtype=torch.int32)
    extension().pack_integers(weight.codes.contiguous().data_ptr(), rows, columns, panels.data_ptr(), sums.data_ptr())
    scales = packed_scales(weight.scales.float(), rows)
    tensors = panels, sums, scales
    native = extension().weight(KIND, rows, columns, panels.data_ptr(), group=columns, scales=scales.data_ptr(),
                                code_sums=sums.data_ptr(), nodes=placed_nodes(nodes, tensors, padded, epilogue))
    bias = None if bias is None else bias.float().contiguous()
    return NativeProduct(isa, native, weight.shape, tensors, bias, epilogue, dtype)

"""Linear layers by weft's native kernels (csrc/linear.h), on weights that are packed once, dense ones in place.

Bound: memory for few rows (each weight is read once), the processor's products for many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from weft.ops.activation.cpu import ACTS
from weft.ops.linear.product import Epilogue, rows_of_parts
from weft.ops.linear.reference import BLOCK
from weft.ops.native import DTYPES, extension, kernels
from weft.ops.nodes import MemoryNodes
from weft.ops.quantized import QuantizedWeight

ROW_PADDING = 64               # rows of a packed matrix are padded to a multiple of this
SCALES = {torch.float32: 0, torch.float16: 2, torch.uint8: 3, torch.int8: 4}      # ScaleKind in csrc/kernels.h
BYTES_IN_WORDS = 7             # W_U8 of csrc/kernels.h
_GROUPS = (16, 32, 64, 128, 256)     # group sizes that the kernels know, in columns, besides a whole row


class NativeProduct:
    """A Product on packed panels. shape: [N, K]. weight: the native descriptor. tensors: the memory it points to."""

    def __init__(self, isa: str, weight: Any, shape: torch.Size, tensors: tuple[Tensor, ...], bias: Tensor | None,
                 epilogue: Epilogue, dtype: torch.dtype) -> None:
        table = kernels(isa)
        self._linear, self._gather, self.weight = table.linear, table.gather, weight
        self._tensors = (*tensors, bias)
        self._bias = 0 if bias is None else bias.data_ptr()
        self._act, self._gated = ACTS[epilogue.act], epilogue.gated
        self._dtype, self._x_type = dtype, DTYPES[dtype]
        self._out_dtype, self._out_type = epilogue.out_dtype, DTYPES[epilogue.out_dtype]
        self.shape, self._columns = shape, shape[1]
        self.width = shape[0] // 2 if epilogue.gated else shape[0]

    def __call__(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0,
                 out: Tensor | None = None) -> Tensor:
        """As Product. ValueError for x of another dtype or width."""
        if x.dtype != self._dtype or x.shape[-1] != self._columns:
            raise ValueError(f"x is {x.dtype} {list(x.shape)}, the weight takes {self._dtype} [T, {self._columns}]")
        if x.stride(1) != 1:
            x = x.contiguous()
        if residual is not None:
            out = residual
        elif out is None:
            out = torch.empty(x.shape[0], self.width, dtype=self._out_dtype)
        target, stride = out.data_ptr(), out.stride(0)
        self._linear(self.weight, x.data_ptr(), self._x_type, x.shape[0], x.stride(0), self._bias, self._act,
                     self._gated, 0 if residual is None else target, stride, alpha, target, self._out_type, stride)
        return out

    @property
    def num_bytes(self) -> int:
        """Bytes of the packed weight, its scales and the bias."""
        return sum(t.nbytes for t in self._tensors if t is not None)

    def rows(self, ids: Tensor) -> Tensor:
        """As Product."""
        out = torch.empty(ids.shape[0], self._columns, dtype=self._dtype)
        self._gather(self.weight, ids.contiguous().data_ptr(), ids.shape[0], out.data_ptr(), self._x_type)
        return out


class NativeParts:
    """A Product of several parts of one layer, side by side, because they are stored in different formats."""

    def __init__(self, products: Sequence[NativeProduct]) -> None:
        self._products = products
        self._ends = list(accumulate(product.width for product in products))

    def __call__(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0,
                 out: Tensor | None = None) -> Tensor:
        """As Product."""
        if out is None:
            out = residual if residual is not None else torch.empty(x.shape[0], self._ends[-1], dtype=x.dtype)
        for product, end in zip(self._products, self._ends, strict=True):
            part = slice(end - product.width, end)
            product(x, None if residual is None else residual[:, part], alpha, out[:, part])
        return out

    def rows(self, ids: Tensor) -> Tensor:
        """As Product."""
        return rows_of_parts(self._products, self._ends, ids)


class NativeGate:
    """A Product whose gate is a second kernel call, `run`: act(first half of the columns) * second half."""

    def __init__(self, product: NativeProduct, run: Callable[..., Tensor]) -> None:
        self._product, self._run = product, run

    def __call__(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0,
                 out: Tensor | None = None) -> Tensor:
        """As Product."""
        result = self._run(self._product(x), out)
        return result if residual is None else residual.add_(result, alpha=alpha)

    def rows(self, ids: Tensor) -> Tensor:
        """AssertionError: a weight whose rows are read (a table) has no gate."""
        raise AssertionError("a table has no gate")


def padded_empty(rows: int, columns: int, dtype: torch.dtype, device: str) -> Tensor:
    """An empty [rows, columns] in storage with padded rows, so that `pack_dense` works in place."""
    return torch.empty(-(-rows // ROW_PADDING) * ROW_PADDING, columns, dtype=dtype, device=device)[:rows]


def dense_product(weight: Tensor, bias: Tensor | None, epilogue: Epilogue, isa: str,
                  nodes: MemoryNodes | None = None) -> NativeProduct:
    """Pack a weight and return its product. A weight of `padded_empty` is packed in place, so its rows are gone."""
    rows, columns = weight.shape
    padded = -(-rows // ROW_PADDING) * ROW_PADDING
    room = weight.untyped_storage().nbytes() // weight.element_size()
    if not weight.is_contiguous() or (rows != padded and (weight.storage_offset() or room != padded * columns)):
        source, weight = weight, padded_empty(rows, columns, weight.dtype, "cpu")
        weight.copy_(source)
    panels = weight.as_strided((padded, columns), (columns, 1))
    panels[rows:] = 0
    unit = 2 if weight.dtype == torch.float16 else 4                # bytes; bfloat16 columns lie in pairs
    extension().pack_dense(panels.data_ptr(), padded, columns * weight.element_size() // unit, unit)
    native = extension().weight(DTYPES[weight.dtype], rows, columns, panels.data_ptr(),
                                nodes=placed_nodes(nodes, (panels,), padded, epilogue))
    return NativeProduct(isa, native, weight.shape, (panels,), _wide(bias), epilogue, weight.dtype)


def quantized_product(weight: QuantizedWeight, bias: Tensor | None, epilogue: Epilogue, isa: str,
                      dtype: torch.dtype, nodes: MemoryNodes | None = None, *,
                      int8_activations: bool = False) -> NativeProduct:
    """Pack codes and scales, and return the product. dtype: x's. ValueError for what `refuses_quantized` refuses.

    int8_activations: x is quantized to 8 bits with a scale for each block of 32 columns (reference.BlockProduct), where
    `refuses_blocks` returns None.
    """
    in_blocks = int8_activations and refuses_blocks(weight.shape[1]) is None
    weight = _with_supported_groups(weight)
    rows, columns = weight.shape
    padded, bits = -(-rows // ROW_PADDING) * ROW_PADDING, _packed_bits(weight)
    codes = torch.empty(padded * columns * bits // 8, dtype=torch.uint8)
    pairs = dtype == torch.bfloat16 and kernels(isa).multiplies_bfloat16 and not in_blocks
    kind = BYTES_IN_WORDS if bits == 8 and not pairs else bits      # the other kinds are called by their bits
    extension().pack_codes(weight.codes.contiguous().data_ptr(), rows, columns, kind, weight.zero, codes.data_ptr())
    scales = packed_scales(weight.scales, rows)
    offsets = None if weight.offsets is None else packed_scales(weight.offsets, rows)
    supers = [None if t is None else packed_scales(t.half(), rows) for t in (weight.super_scales, weight.super_offsets)]
    per_super = 1 if weight.super_scales is None else weight.scales.shape[1] // weight.super_scales.shape[1]
    tensors = tuple(t for t in (codes, scales, offsets, *supers) if t is not None)
    native = extension().weight(
        kind, rows, columns, codes.data_ptr(), weight.zero, weight.group_size, SCALES[weight.scales.dtype],
        _address(scales), _address(offsets), per_super, *map(_address, supers),
        nodes=placed_nodes(nodes, tensors, padded, epilogue), int8_activations=in_blocks)
    return NativeProduct(isa, native, weight.shape, tensors, _wide(bias), epilogue, dtype)


def packed_bytes(rows: int, codes: QuantizedWeight) -> int:
    """Bytes of the product, without bias, of a weight with `rows` rows in the format of `codes`."""
    codes = _with_supported_groups(codes)
    columns, scales = codes.shape[1], (codes.scales, codes.offsets)
    supers = [t.half() for t in (codes.super_scales, codes.super_offsets) if t is not None]
    row = columns * _packed_bits(codes) // 8 + sum(t.shape[1] * t.itemsize for t in (*scales, *supers) if t is not None)
    return -(-rows // ROW_PADDING) * ROW_PADDING * row


def _packed_bits(weight: QuantizedWeight) -> int:
    """Bits of a packed code: codes of 5 or 6 bits need units of 32 or 16 columns with one scale, else they take 8."""
    columns = {5: 32, 6: 16}.get(weight.bits, 1)
    return 8 if weight.shape[1] % columns or weight.group_size % columns else weight.bits


def refuses_quantized(columns: int, group_size: int) -> str | None:
    """Why the kernels cannot take quantized rows of `columns` columns with such groups; None when they can."""
    if columns % 8:
        return f"{columns} columns: not a multiple of 8"
    if group_size != columns and not any(group_size % g == 0 for g in _GROUPS):
        return f"groups of {group_size} columns, not a multiple of {_GROUPS[0]}"
    return None


def refuses_blocks(columns: int) -> str | None:
    """Why the kernels cannot multiply `columns` columns of codes by x in 8 bits; None when they can."""
    return f"{columns} columns: not a multiple of {BLOCK}" if columns % BLOCK else None


def _with_supported_groups(weight: QuantizedWeight) -> QuantizedWeight:
    """The same weight in a form that the kernels take: large groups are cut into smaller ones with the same scale,
    scales of other float types become float32, 8-bit codes are counted from 128.
    """
    reason = refuses_quantized(weight.shape[1], weight.group_size)
    if reason is not None:
        raise ValueError(reason)
    size, fits = weight.group_size, weight.bits < 8 or weight.zero == 128
    if size != weight.shape[1] and size not in _GROUPS:
        size = max(g for g in _GROUPS if size % g == 0)
    if size == weight.group_size and weight.scales.dtype in SCALES and fits:
        same_type = weight.offsets is None or weight.offsets.dtype == weight.scales.dtype
        halves = all(t is None or t.dtype == torch.float16 for t in (weight.super_scales, weight.super_offsets))
        if same_type and halves:
            return weight
    times = weight.group_size // size
    scales, offsets, zero = weight.group_scales(), weight.group_offsets(), weight.zero
    if not fits:                                              # code - zero has to fit in a signed 8-bit integer
        shift = scales * (128 - zero)
        offsets, zero = shift if offsets is None else offsets + shift, 128
    return QuantizedWeight(codes=weight.codes, bits=weight.bits, zero=zero, group_size=size,
                           scales=scales.repeat_interleave(times, dim=1),
                           offsets=None if offsets is None else offsets.repeat_interleave(times, dim=1))


def packed_scales(values: Tensor, rows: int) -> Tensor:
    """values [N, G], packed as panels of 32 rows."""
    values = values.contiguous()
    out = torch.empty(-(-rows // ROW_PADDING) * ROW_PADDING * values.shape[1], dtype=values.dtype)
    extension().pack_scales(values.data_ptr(), rows, values.shape[1], values.element_size(), out.data_ptr())
    return out


def placed_nodes(nodes: MemoryNodes | None, tensors: Sequence[Tensor], rows: int, epilogue: Epilogue) -> Any:
    """Move the pages of packed tensors to their nodes. Returns the native nodes, for the weight's descriptor."""
    if nodes is None:
        return None
    nodes.place(tensors, rows, gated=epilogue.gated)
    return nodes.native


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _wide(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float().contiguous()

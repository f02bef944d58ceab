"""Rows of a token table by weft's native kernels (csrc/act.h; csrc/gather.h for packed tables). Bound: memory."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.ops.linear.cpu import NativeProduct
from weft.ops.native import DTYPES, extension, kernels


class NativeRows:
    """A kernel with the contract of ReferenceRows; a packed table has to be a native product of the same dtype."""

    def __init__(self, dtype: torch.dtype, isa: str, table: Tensor | NativeProduct, scale: float = 1.0) -> None:
        self._table, self._dtype, self._type = table, dtype, DTYPES[dtype]
        self._size, self._columns = table.shape
        self._kernels = kernels(isa)
        if isinstance(table, Tensor) and (table.dtype != dtype or table.stride(1) != 1):
            raise ValueError(f"the table is {table.dtype} with strides {table.stride()}, expected rows of {dtype}")
        self._factor = float(torch.tensor(scale, dtype=dtype))

    def __call__(self, ids: Tensor) -> Tensor:
        """As ReferenceRows."""
        ids = ids.contiguous()
        at, count = ids.data_ptr(), ids.shape[0]
        out = torch.empty(count, self._columns, dtype=self._dtype)
        table = self._table
        if isinstance(table, Tensor):
            self._kernels.table_rows(table.data_ptr(), self._type, self._size, self._columns, table.stride(0), at,
                                     count, self._factor, out.data_ptr())
        else:
            extension().check_ids(at, count, self._size)
            self._kernels.gather(table.weight, at, count, out.data_ptr(), self._type, self._factor)
        return out

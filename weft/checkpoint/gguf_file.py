"""One memory-mapped GGUF file. Float tensors are views of its pages; quantized blocks are returned as floats, as codes
(quantized values) or as bytes.

`resolve/gguf/header.py` checks the header; `ops/quantized/gguf.py` knows the block formats.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection, Iterator
from functools import cache

import torch
from torch import Tensor

from weft.checkpoint.mapped import drop_pages
from weft.checkpoint.tensor_info import TensorInfo
from weft.errors import CheckpointError
from weft.ops.quantized import QuantizedWeight
from weft.ops.quantized.gguf import dequantize, is_affine, to_quantized
from weft.resolve.gguf.header import GGUFHeader, GGUFTensor

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64, "I8": torch.int8,
          "I16": torch.int16, "I32": torch.int32, "I64": torch.int64}


class GGUFShard:
    """A file of tensors. dtype: the dtype that `read` dequantizes to."""

    def __init__(self, header: GGUFHeader, dtype: torch.dtype) -> None:
        self.file, self._dtype, self._entries = header.path, dtype, header.tensors
        self.tensors = {name: self._info(name, entry) for name, entry in header.tensors.items()}

    def is_mapped(self, name: str) -> bool:
        """False for a tensor that `read` must copy: quantized, or not aligned to its dtype."""
        entry = self._entries[name]
        return not entry.type.is_quantized and entry.start % DTYPES[entry.type.name].itemsize == 0

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """These tensors in the order of the file: views of its pages, or dequantized floats."""
        pages = self._pages()
        for name, entry in self._entries.items():
            if name not in names:
                continue
            raw = self._bytes(pages, entry)
            if entry.type.is_quantized:
                yield name, dequantize(entry.type.name, raw, entry.shape, self._dtype)
                drop_pages(raw)
            else:
                raw = raw if self.is_mapped(name) else raw.clone()
                yield name, raw.view(DTYPES[entry.type.name]).view(entry.shape)

    def has_codes(self, name: str) -> bool:
        """Whether the tensor's format is integer codes with scales (and offsets)."""
        return is_affine(self._entries[name].type.name)

    def code_row(self, name: str) -> QuantizedWeight | None:
        """A row of zeros in the tensor's format, for its sizes; None when the tensor has no codes."""
        entry = self._entries[name]
        if not self.has_codes(name) or entry.stop == entry.start:
            return None
        row_bytes = (entry.stop - entry.start) // math.prod(entry.shape[:-1])
        return _row_of_zeros(entry.type.name, entry.shape[-1], row_bytes)

    def quantized(self, name: str) -> QuantizedWeight | None:
        """The tensor as integer codes, or None when its format has no codes."""
        entry = self._entries[name]
        return to_quantized(entry.type.name, self.raw(name), entry.shape) if self.has_codes(name) else None

    def raw(self, name: str) -> Tensor:
        """A tensor's bytes, uint8 [n], a view of the file's pages."""
        return self._bytes(self._pages(), self._entries[name])

    def _info(self, name: str, entry: GGUFTensor) -> TensorInfo:
        if not entry.type.is_quantized:
            return TensorInfo(name, entry.shape, DTYPES[entry.type.name], self.file)
        return TensorInfo(name, entry.shape, self._dtype, self.file, entry.type.name, entry.stop - entry.start)

    def _pages(self) -> mmap.mmap:
        try:
            with self.file.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.file}: cannot be mapped into memory: {error}.") from error

    def _bytes(self, pages: mmap.mmap, entry: GGUFTensor) -> Tensor:
        if entry.stop > len(pages):
            raise CheckpointError(f"{self.file}: the file became shorter while it was read.")
        if entry.stop == entry.start:
            return torch.empty(0, dtype=torch.uint8)
        return torch.frombuffer(pages, dtype=torch.uint8, count=entry.stop - entry.start, offset=entry.start)


@cache
def _row_of_zeros(kind: str, columns: int, num_bytes: int) -> QuantizedWeight:
    return to_quantized(kind, torch.zeros(num_bytes, dtype=torch.uint8), (1, columns))

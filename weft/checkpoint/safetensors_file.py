"""One memory-mapped safetensors file. `resolve/safetensors_header.py` checks its header."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator
from pathlib import Path

import torch
from torch import Tensor

from weft.checkpoint.tensor_info import TensorInfo
from weft.errors import CheckpointError
from weft.resolve.safetensors_header import Entry, read_header

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu, "U16": torch.uint16,
    "I16": torch.int16, "F16": torch.float16, "BF16": torch.bfloat16,
    "U32": torch.uint32, "I32": torch.int32, "F32": torch.float32, "U64": torch.uint64, "I64": torch.int64,
    "F64": torch.float64, "C64": torch.complex64,
}


class SafetensorsShard:
    """A file of tensors. CheckpointError when the file is missing, truncated or broken."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._entries = read_header(file)
        self.tensors = {name: TensorInfo(name, entry.shape, DTYPES[entry.dtype], file)
                        for name, entry in self._entries.items()}

    def is_mapped(self, name: str) -> bool:
        """False for a tensor that `read` must copy, because its data are not aligned to its dtype."""
        return _is_aligned(self._entries[name])

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """These tensors in the order of the file, as views of its pages (copies where not aligned)."""
        try:
            with self.file.open("rb") as file:
                pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.file}: cannot be mapped into memory: {error}.") from error
        for entry, name in sorted(((self._entries[name], name) for name in names), key=lambda pair: pair[0].start):
            if entry.stop > len(pages):
                raise CheckpointError(f"{self.file}: the file became shorter while it was read.")
            yield name, _view(pages, entry)


def _view(pages: mmap.mmap, entry: Entry) -> Tensor:
    dtype, num_bytes = DTYPES[entry.dtype], entry.stop - entry.start
    if num_bytes == 0:
        return torch.empty(entry.shape, dtype=dtype)
    raw = torch.frombuffer(pages, dtype=torch.uint8, count=num_bytes, offset=entry.start)
    if not _is_aligned(entry):
        raw = raw.clone()
    return raw.view(dtype).view(entry.shape)


def _is_aligned(entry: Entry) -> bool:
    """Whether the data are aligned to their dtype, which the format does not guarantee."""
    return entry.start % DTYPES[entry.dtype].itemsize == 0

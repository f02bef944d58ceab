"""Reads the header of a GGUF file from mapped pages, without torch, and checks it against the file's length.

File layout: magic, version, counts, metadata of typed values, tensor entries, then the aligned data. This module does
not interpret them: `gguf/config.py` uses the metadata, `checkpoint/gguf_file.py` the tensors.
Source: docs/gguf.md of github.com/ggml-org/ggml.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weft.errors import CheckpointError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4
MAX_STRINGS = 1 << 24       # in one array: a short Python string takes more memory than its bytes in the file
_MIN_ENTRY, _MIN_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8      # bytes of the shortest metadata entry and tensor entry
_FLOAT32, _BOOL, _STRING, _ARRAY = 6, 7, 8, 9
_SCALARS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "<u1", 10: "<u8", 11: "<i8",
            12: "<f8"}
_AGAIN = "The file is broken or was not written to the end: download or save it again."


@dataclass(frozen=True, slots=True)
class GGUFType:
    """How a tensor's values are stored: `num_bytes` bytes for each block of `block_size` values."""

    name: str
    block_size: int
    num_bytes: int

    @property
    def is_quantized(self) -> bool:
        return self.block_size > 1


TYPES = {number: GGUFType(name, block_size, num_bytes) for number, name, block_size, num_bytes in (
    (0, "F32", 1, 4), (1, "F16", 1, 2), (30, "BF16", 1, 2), (28, "F64", 1, 8), (24, "I8", 1, 1), (25, "I16", 1, 2),
    (26, "I32", 1, 4), (27, "I64", 1, 8), (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20), (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24), (8, "Q8_0", 32, 34), (9, "Q8_1", 32, 36), (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144), (13, "Q5_K", 256, 176), (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74), (18, "IQ3_XXS", 256, 98), (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18), (21, "IQ3_S", 256, 110), (22, "IQ2_S", 256, 82), (23, "IQ4_XS", 256, 136),
    (29, "IQ1_M", 256, 56), (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66), (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36), (41, "Q1_0", 128, 18), (42, "Q2_0", 64, 18),
)}


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """A tensor in the file. shape: rows first, as in torch. start, stop: its bytes, counted from the file's start."""

    type: GGUFType
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """A file's header. metadata: {key: int, float, bool, str, list of str, or numpy array}. tensors: by name, in the
    order of their data in the file.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GGUFTensor]


def read_gguf(path: Path) -> GGUFHeader:
    """The header of one file. CheckpointError names the file, the key or tensor, and the fault."""
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: not a file." if path.exists() else f"{path}: the file is missing.")
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < 24:
                raise CheckpointError(f"{path}: {size} bytes, too short for a GGUF file. {_AGAIN}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
                return _Reader(path, pages).header()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}.") from error


class _Reader:
    """Reads a file's bytes in order, from position `at`. No read goes beyond the end of the file."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.size, self.at = path, data, len(data), 0

    def header(self) -> GGUFHeader:
        num_tensors, num_entries = self._counts()
        metadata: dict[str, Any] = {}
        for number in range(num_entries):
            key = self._name(f"key {number}")
            if key in metadata:
                raise self._fault(f"key {key!r} is there twice")
            metadata[key] = self._value(key)
        return GGUFHeader(self.path, metadata, self._tensors(num_tensors, _alignment(self.path, metadata)))

    def _counts(self) -> tuple[int, int]:
        magic = self._take(4, "magic")
        if magic != MAGIC:
            raise CheckpointError(f"{self.path}: begins with {magic!r}, not with {MAGIC!r}: this is no GGUF file.")
        version = self._int("<I", "version")
        if version not in VERSIONS:
            hint = "It is of the other byte order." if not version & 0xFFFF else "Convert the model again."
            raise self._fault(f"version {version}, expected {' or '.join(map(str, VERSIONS))}", hint)
        num_tensors, num_entries = self._int("<Q", "tensor count"), self._int("<Q", "metadata count")
        if num_tensors * _MIN_TENSOR + num_entries * _MIN_ENTRY > self.size - self.at:
            raise self._fault(f"{num_tensors} tensors and {num_entries} metadata keys do not fit the "
                              f"{self.size - self.at} bytes after the counts")
        return num_tensors, num_entries

    def _tensors(self, count: int, alignment: int) -> dict[str, GGUFTensor]:
        entries: dict[str, tuple[GGUFType, tuple[int, ...], int]] = {}
        for number in range(count):
            name = self._name(f"name of tensor {number}")
            if name in entries:
                raise self._fault(f"tensor {name!r} is there twice")
            entries[name] = self._tensor(name, alignment)
        data = -(-self.at // alignment) * alignment
        tensors = {name: self._placed(name, *entry, data) for name, entry in entries.items()}
        ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)))
        stop, before = data, ""
        for name, tensor in ordered.items():
            if tensor.start < stop:
                raise self._fault(f"the data of tensors {name!r} and {before!r} overlap")
            stop, before = tensor.stop, name
        return ordered

    def _tensor(self, name: str, alignment: int) -> tuple[GGUFType, tuple[int, ...], int]:
        what = f"tensor {name!r}"
        dimensions = self._int("<I", f"{what}: dimensions")
        if dimensions > MAX_DIMENSIONS:
            raise self._fault(f"{what}: {dimensions} dimensions, expected at most {MAX_DIMENSIONS}")
        sizes = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions, f"{what}: sizes"))
        number, offset = self._int("<I", f"{what}: type"), self._int("<Q", f"{what}: offset")
        if number not in TYPES:
            raise self._fault(f"{what}: type {number} is none that weft knows",
                              f"weft knows {', '.join(entry.name for entry in TYPES.values())}.")
        if offset % alignment:
            raise self._fault(f"{what}: offset {offset} is no multiple of the alignment {alignment}")
        return TYPES[number], tuple(reversed(sizes)), offset

    def _placed(self, name: str, kind: GGUFType, shape: tuple[int, ...], offset: int, data: int) -> GGUFTensor:
        columns = shape[-1] if shape else 1
        if columns % kind.block_size:
            raise self._fault(f"tensor {name!r}: rows of {columns} numbers, no multiple of the {kind.block_size} of a "
                              f"{kind.name} block")
        start = data + offset
        stop = start + math.prod(shape) // kind.block_size * kind.num_bytes
        if stop > self.size:
            raise self._fault(f"tensor {name!r}: {kind.name} {list(shape)} at offset {offset} ends after the file, "
                              f"which has {self.size} bytes")
        return GGUFTensor(kind, shape, start, stop)

    def _value(self, key: str) -> Any:
        kind = self._int("<I", f"{key}: type")
        if kind == _STRING:
            return self._string(key)
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _SCALARS:
            raise self._fault(f"{key}: value type {kind}, expected 0 to 12")
        number = self._numbers(kind, 1, key)[0]
        if kind == _FLOAT32:
            return float(str(number))       # gives 1e-06, not 9.999999974752427e-07
        value = number.item()
        if kind != _BOOL:
            return value
        if value > 1:
            raise self._fault(f"{key}: {value}, expected a boolean: 0 or 1")
        return bool(value)

    def _array(self, key: str) -> list[str] | np.ndarray:
        kind, count = self._int("<I", f"{key}: type of elements"), self._int("<Q", f"{key}: number of elements")
        if kind == _STRING:
            if count * 8 > self.size - self.at or count > MAX_STRINGS:
                raise self._fault(f"{key}: {count} strings, expected at most {MAX_STRINGS} and no more than fit the "
                                  f"{self.size - self.at} bytes that are left")
            return [self._string(key) for _ in range(count)]
        if kind not in _SCALARS:
            raise self._fault(f"{key}: elements of type {kind}, expected numbers, booleans or strings")
        return self._numbers(kind, count, key)

    def _numbers(self, kind: int, count: int, key: str) -> np.ndarray:
        dtype = np.dtype(_SCALARS[kind])
        return np.frombuffer(self._take(count * dtype.itemsize, key), dtype=dtype)

    def _string(self, what: str) -> str:
        raw = self._take(self._int("<Q", f"{what}: length"), what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._fault(f"{what}: byte {error.start} of a string is not UTF-8") from error

    def _name(self, what: str) -> str:
        name = self._string(what)
        if not name or len(name) > 65535:
            raise self._fault(f"{what}: {len(name)} characters, expected 1 to 65535")
        return name

    def _int(self, form: str, what: str) -> int:
        return struct.unpack(form, self._take(struct.calcsize(form), what))[0]

    def _take(self, count: int, what: str) -> bytes:
        if count > self.size - self.at:
            raise self._fault(f"{what}: {count} bytes at {self.at}, the file has {self.size - self.at} more")
        self.at += count
        return self.data[self.at - count:self.at]

    def _fault(self, what: str, hint: str = _AGAIN) -> CheckpointError:
        return CheckpointError(f"{self.path}: {what[:400]}. {hint}")


def _alignment(path: Path, metadata: dict[str, Any]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or value & (value - 1) or value > 1 << 30:
        shown = value if isinstance(value, int | float) else type(value).__name__
        raise CheckpointError(f"{path}: general.alignment: {shown}, expected a power of two. {_AGAIN}")
    return value

"""Reads the header of a safetensors file without torch, and checks it against the file's length.

Format: 8 bytes little-endian header length, the header as JSON {name: {dtype, shape, data_offsets}}, then the data.
Used to find a checkpoint's dtype, and by `checkpoint/` to map tensors. Source: github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from weft.errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000      # the format's own limit
MAX_DIMENSIONS = 16
DTYPE_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2,
               "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8}
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_AGAIN = "The file is broken or was not written to the end: download or save it again."


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor in the file. start, stop: its bytes, counted from the file's beginning."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(path: Path) -> dict[str, Entry]:
    """{tensor name: Entry} in the order of the data in the file. CheckpointError names the file and the fault."""
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: not a file." if path.exists() else f"{path}: the file is missing.")
        size = path.stat().st_size
        if size < 8:
            raise CheckpointError(f"{path}: {size} bytes, too short for a safetensors file. {_AGAIN}")
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            if length > min(size - 8, MAX_HEADER_BYTES):
                raise CheckpointError(f"{path}: the header says it has {length} bytes, the file has {size - 8} after "
                                      f"the first 8. {_AGAIN}")
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}.") from error
    return _entries(path, _parse(path, text), 8 + length, size)


def majority_dtype(files: Iterable[Path]) -> str | None:
    """The 16 or 32 bit float dtype with the most bytes in these files, by torch's name; None without such tensors."""
    counts: Counter[str] = Counter()
    for path in files:
        for entry in read_header(path).values():
            if entry.dtype in _FLOATS:
                counts[_FLOATS[entry.dtype]] += entry.stop - entry.start
    return counts.most_common(1)[0][0] if counts else None


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the header is not valid JSON: {error}. {_AGAIN}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: the header is no JSON object. {_AGAIN}")
    header.pop("__metadata__", None)
    return header


def _entries(path: Path, header: dict[str, Any], data: int, size: int) -> dict[str, Entry]:
    out = {name: _entry(path, name, value, data, size) for name, value in header.items()}
    ordered = dict(sorted(out.items(), key=lambda item: (item[1].start, item[1].stop)))
    stop, before = data, ""
    for name, entry in ordered.items():
        if entry.start < stop:
            raise CheckpointError(f"{path}: the data of {name!r} and {before!r} overlap. {_AGAIN}")
        stop, before = entry.stop, name
    return ordered


def _entry(path: Path, name: str, value: Any, data: int, size: int) -> Entry:
    def fail(what: str) -> CheckpointError:
        return CheckpointError(f"{path}: tensor {name!r}: {what}. {_AGAIN}")

    if not isinstance(value, dict):
        raise fail("its entry in the header is no object")
    dtype, shape, offsets = value.get("dtype"), value.get("shape"), value.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise fail(f"dtype {dtype!r} is none that weft knows ({', '.join(DTYPE_BYTES)})")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise fail(f"shape {str(shape)[:80]} is no list of at most {MAX_DIMENSIONS} sizes")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise fail(f"data_offsets {str(offsets)[:80]} are no [start, stop]")
    if offsets[1] > size - data:
        raise fail(f"its data ends after the file, which has {size} bytes")
    if math.prod(shape) * DTYPE_BYTES[dtype] != offsets[1] - offsets[0]:
        raise fail(f"{dtype} {str(shape)[:80]} does not fit the {offsets[1] - offsets[0]} bytes that it is given")
    return Entry(dtype, tuple(shape), data + offsets[0], data + offsets[1])


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 63
                                           for n in value)

"""GGUF files byte by byte, so that a test can write what no writer would."""

from __future__ import annotations

import struct
from pathlib import Path

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10
_FORMS = {U8: "<B", U32: "<I", 5: "<i", F32: "<f", BOOL: "<B", U64: "<Q"}


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, content) -> bytes:
    """A value with its type in front. content of an array: (type of the elements, their values)."""
    if kind == STRING:
        return struct.pack("<I", kind) + string(content)
    if kind == ARRAY:
        inner, items = content
        return struct.pack("<IIQ", kind, inner, len(items)) + b"".join(value(inner, item)[4:] for item in items)
    return struct.pack("<I", kind) + struct.pack(_FORMS[kind], content)


def tensor(name: str, sizes: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    """A tensor's entry. sizes: innermost first."""
    return string(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def write(path: Path, entries: list[bytes] = (), tensors: list[bytes] = (), data: bytes = bytes(32), *,
          magic: bytes = b"GGUF", version: int = 3, counts: tuple[int, int] | None = None, align: int = 32) -> Path:
    """A file of metadata entries (key and value) and tensor entries. counts: other numbers of them than there are."""
    num_tensors, num_entries = counts or (len(tensors), len(entries))
    head = magic + struct.pack("<IQQ", version, num_tensors, num_entries) + b"".join([*entries, *tensors])
    path.write_bytes(head + bytes(-len(head) % align) + data)
    return path


def entry(key: str, kind: int, content) -> bytes:
    return string(key) + value(kind, content)

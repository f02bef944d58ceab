"""`Fact`: a value together with where it was read, and helpers that read the small text files of `/proc` and `/sys`.

Which files are read is decided by `machine.py` and its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Fact:
    """A value and, in words, the place it was read from."""

    value: Any
    source: str


def system_text(path: Path) -> str:
    """The stripped text of a small system file, or "" when the system does not have the file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def sizes_in_kb(text: str) -> dict[str, int]:
    """{name: bytes} from lines like `MemFree:  4181068 kB`; lines about a NUMA node start with `Node 0`."""
    out = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()
        if name.strip() and number and number[0].isdigit():
            out[name.split()[-1]] = int(number[0]) * 1024
    return out

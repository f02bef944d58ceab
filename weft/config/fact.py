"""`Fact`: a value and where it was read, and how the small files of `/proc` and `/sys` are read for it.

Knows none of the files; `machine.py` and its neighbours do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Fact:
    """A value and the place it was read from, in words."""

    value: Any
    source: str


def system_text(path: Path) -> str:
    """A small system file, or nothing where the system does not have it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def sizes_in_kb(text: str) -> dict[str, int]:
    """Bytes by name from lines like `MemFree:  4181068 kB`; a node's lines have `Node 0` in front."""
    out = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()
        if name.strip() and number and number[0].isdigit():
            out[name.split()[-1]] = int(number[0]) * 1024
    return out

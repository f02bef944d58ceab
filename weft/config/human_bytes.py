"""`human_bytes`: a number of bytes as people read it, the same in every message, report and table."""

from __future__ import annotations


def human_bytes(count: float) -> str:
    """`1.25 GiB`: two decimals of the largest unit of 1024 that leaves at least 1; bytes without decimals."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} TiB"

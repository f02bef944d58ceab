"""`human_bytes`: a number of bytes as text (`1.25 GiB`), the same in every message, report and table."""

from __future__ import annotations


def human_bytes(count: float) -> str:
    """`1.25 GiB`: the largest binary unit in which the number is at least 1, with two decimals (bytes: none)."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} TiB"

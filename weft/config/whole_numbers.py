"""`whole_numbers`: turns whole floats from JSON into ints. JSON has one number type, and some files write 4 as 4.0."""

from __future__ import annotations

from typing import Any


def whole_numbers(value: Any) -> Any:
    """`value` with whole floats (4.0) as ints (4), in lists too."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [whole_numbers(entry) for entry in value] if isinstance(value, list) else value

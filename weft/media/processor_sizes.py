"""`check_sizes`: settings of a processor (`mm_processor_kwargs`) stay within the limits of an image.

A processor resizes an image to the size that it is told, whatever memory that takes, in the process that calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.errors import RequestError

_MAX_SIDE = 8192                # pixels; also of any number whose meaning is not known here
_MAX_PIECES = 256               # tiles, crops or frames that one item may be cut into
_PIECES = ("tile", "crop", "patch", "split", "frame")


def check_sizes(given: Any, own: Any, max_pixels: int, field: str = "mm_processor_kwargs") -> None:
    """RequestError, which names the setting, for a number above its limit.

    given: settings by name, or a list within them. own: the processor's settings of the same names, as keys or as
    attributes. max_pixels: of an image; where the processor's own number is larger than a side, the setting is an area
    in pixels (Qwen-VL's `longest_edge`).
    """
    for key, value in given.items() if isinstance(given, Mapping) else enumerate(given):
        mine = own.get(key) if isinstance(own, Mapping) else getattr(own, str(key), None)
        name = f"{field}.{key}"
        if isinstance(value, Mapping | list | tuple):
            check_sizes(value, own if mine is None else mine, max_pixels, name)
        elif isinstance(value, int | float) and not value <= (most := _most(str(key), mine, max_pixels)):
            raise RequestError(name, value, expected=f"at most {most}")


def _most(key: str, own: Any, max_pixels: int) -> int:
    if "pixels" in key or (isinstance(own, int | float) and own > _MAX_SIDE):
        return max_pixels
    return _MAX_PIECES if any(word in key for word in _PIECES) and not key.endswith("_size") else _MAX_SIDE

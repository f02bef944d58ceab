"""How the numbers of an answer are written: as JSON, or as bytes of a type and a byte order, in base64 or plain.

numpy has no bfloat16 and no numbers of 8 bits; they are rounded here to the nearest, ties to even, as torch does.
"""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weft.server.errors import bad_field

# Number type -> (bits of the mantissa, bias of the exponent, code that larger numbers get: the largest, or infinity)
_EIGHT_BITS = {"fp8_e4m3": (3, 7, 0x7E), "fp8_e5m2": (2, 15, 0x7C)}
PLAIN = ("bytes", "bytes_only")


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """encoding: float, base64, bytes or bytes_only. dtype, endianness: of all but float. ApiError 400 for others there.
    """

    encoding: str = "float"
    dtype: str = "float32"
    endianness: str = "native"

    def __post_init__(self) -> None:
        if self.encoding == "float":
            for field, value, only in (("embed_dtype", self.dtype, "float32"),
                                       ("endianness", self.endianness, "native")):
                if value != only:
                    raise bad_field(field, value, expected=f"{only} with encoding_format float",
                                    hint="JSON has one kind of number: ask for base64 or bytes.")

    @property
    def is_plain(self) -> bool:
        """True for bytes without JSON."""
        return self.encoding in PLAIN

    def value(self, array: NDArray[Any]) -> Any:
        """The numbers as a JSON value: nested lists, or base64 text."""
        return array.tolist() if self.encoding == "float" else base64.b64encode(self.bytes(array)).decode()

    def bytes(self, array: NDArray[Any]) -> bytes:
        """The numbers as bytes, row by row."""
        typed = as_type(array, self.dtype)
        if self.endianness not in ("native", sys.byteorder):
            typed = typed.byteswap()
        return typed.tobytes()


def as_type(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Numbers in another type; types that numpy does not have as unsigned integers of their bits."""
    array = np.asarray(array, np.float32)
    if dtype == "float32":
        return array
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return array.astype(np.float16)
    if dtype == "bfloat16":
        return _bfloat16(array)
    return _eight_bits(array, dtype)


def _bfloat16(array: NDArray[Any]) -> NDArray[Any]:
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(array), 0x7FC0, rounded).astype(np.uint16)


def _eight_bits(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The nearest of the type's numbers: found among the middles between them."""
    middles = _middles(dtype)
    size = np.abs(array).astype(np.float64)
    code = np.searchsorted(middles, size, side="left")
    is_tie = (code < len(middles)) & (middles[np.minimum(code, len(middles) - 1)] == size)
    code = code + (is_tie & (code % 2 == 1))                  # a tie goes to the even code
    code = np.where(np.isnan(array), 0x7F, code)
    return (code | (np.signbit(array) << 7)).astype(np.uint8)


@cache
def _middles(dtype: str) -> NDArray[Any]:
    """The middles between neighbouring numbers of the type, 0 first; the last is where numbers become too large."""
    mantissa, bias, last = _EIGHT_BITS[dtype]
    codes = np.arange(last + 1)
    exponent, rest = codes >> mantissa, codes & ((1 << mantissa) - 1)
    values = np.where(exponent == 0, rest * 2.0 ** (1 - bias - mantissa),
                      (1 + rest * 2.0**-mantissa) * 2.0 ** (exponent - bias))
    return (values[:-1] + values[1:]) / 2

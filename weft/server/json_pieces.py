"""`decode_in_pieces`: JSON as `msgspec.json.decode` reads it, in many short calls instead of a long one.

One call holds the interpreter's lock until its end: 0.3 s for 32 MiB of numbers, 1 s for as many short strings. Between
two calls of a thread the event loop runs. A list or an object larger than a piece is cut at commas between its items.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

PIECE_BYTES = 1 << 16
MAX_LEVELS = 8      # containers within each other that are larger than a piece: each is looked through on its own

_KEY = re.compile(rb'\s*("(?:[^"\\]+|\\.)*+")\s*:', re.DOTALL)
_PLACE = re.compile(r"\(byte (\d+)\)")
_PART_BYTES = 1 << 17
_CHANGES = np.zeros(256, np.int8)      # of the depth, by byte
_CHANGES[[ord("["), ord("{")]], _CHANGES[[ord("]"), ord("}")]] = 1, -1
_CLOSING = {ord("["): ord("]"), ord("{"): ord("}")}


class TooManyLevelsError(ValueError):
    """Large lists and objects lie more than MAX_LEVELS deep in each other."""


def decode_in_pieces(text: bytes | bytearray) -> Any:
    """The value of `text`. msgspec.DecodeError, UnicodeDecodeError or RecursionError as of `msgspec.json.decode`;
    TooManyLevelsError.
    """
    return _value(text, 0, len(text), MAX_LEVELS)


def _value(text: bytes | bytearray, start: int, end: int, levels: int) -> Any:
    """The value of text[start:end]. levels: how many may still be cut."""
    while start < end and text[start] in b" \t\r\n":
        start += 1
    while start < end and text[end - 1] in b" \t\r\n":
        end -= 1
    is_large_container = end - start > PIECE_BYTES and _CLOSING.get(text[start]) == text[end - 1]
    if not is_large_container:
        return _decoded(text[start:end], start)
    if not levels:
        raise TooManyLevelsError(f"large lists and objects lie in each other more than {MAX_LEVELS} deep")
    is_list = text[start] == ord("[")
    found: Any = [] if is_list else {}
    for first, last in _runs(text, start + 1, end - 1):
        if last - first <= PIECE_BYTES or not _is_one_container(text, first, last, is_list=is_list):
            run = text[first:last]
            values = _decoded(b"[" + run + b"]" if is_list else b"{" + run + b"}", first - 1)
            is_whole = (first, last) == (start + 1, end - 1)      # of spaces alone: an empty list or object
            if not values and not is_whole:      # nothing between two commas
                raise msgspec.DecodeError(f"JSON is malformed: expected a value (byte {first})")
            found.extend(values) if is_list else found.update(values)
        elif is_list:
            found.append(_value(text, first, last, levels - 1))
        else:
            key = _KEY.match(text, first, last)
            assert key is not None, "_is_one_container has found the key"
            found[_decoded(key[1], key.start(1))] = _value(text, key.end(), last, levels - 1)
    return found


def _is_one_container(text: bytes | bytearray, first: int, last: int, *, is_list: bool) -> bool:
    """True if text[first:last] is one item whose value is a list or an object."""
    if not is_list:
        key = _KEY.match(text, first, last)
        if key is None:
            return False
        first = key.end()
    return text[first:last].lstrip()[:1] in (b"[", b"{") and text[first:last].rstrip()[-1:] in (b"]", b"}")


def _runs(text: bytes | bytearray, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cuts the items in text[start:end] into runs of at most a piece; an item larger than a piece is a run alone."""
    comma = start      # the last one before a piece's end; or the start
    for commas in _commas(text, start, end):
        while True:
            num_within = int(np.searchsorted(commas, start + PIECE_BYTES, "right"))
            if num_within:
                comma = max(comma, int(commas[num_within - 1]))
            if num_within == len(commas):
                break
            cut = comma if comma > start else int(commas[num_within])
            yield start, cut
            start = comma = cut + 1
    if end - start > PIECE_BYTES and comma > start:
        yield start, comma
        start = comma + 1
    yield start, end


def _commas(text: bytes | bytearray, start: int, end: int) -> Iterator[np.ndarray]:
    """The places of commas in text[start:end] that lie in no string and in no inner list or object, part by part."""
    depth = num_slashes = 0      # open lists and objects; backslashes at the end of the part before
    is_inside = False            # a string
    for low in range(start, end, _PART_BYTES):
        part = np.frombuffer(text, np.uint8, min(_PART_BYTES, end - low), low)
        quotes = part == ord('"')
        slashes = part == ord("\\")
        if num_slashes or slashes.any():
            places = np.arange(len(part))
            others = np.maximum.accumulate(np.where(slashes, -1 - num_slashes, places))
            run = places - others      # backslashes that end at each place
            before = np.concatenate(([num_slashes], run[:-1]))
            quotes &= before % 2 == 0
            num_slashes = int(run[-1])
        strings = np.logical_xor.accumulate(np.concatenate(([is_inside], quotes)))[1:]      # the closing quote is out
        is_inside = bool(strings[-1])
        changes = np.where(strings, 0, _CHANGES[part])
        depths = depth + np.cumsum(changes, dtype=np.int32)
        depth = int(depths[-1])
        yield low + np.flatnonzero((part == ord(",")) & ~strings & (depths == 0))


def _decoded(text: bytes | bytearray, offset: int) -> Any:
    """The value of `text`, which lies at `offset` of the whole: an error names the place there."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise type(error)(_PLACE.sub(lambda place: f"(byte {int(place[1]) + offset})", str(error))) from error

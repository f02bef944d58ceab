"""`header_value`: checks a client's text before a response header repeats it. This module knows no route."""

from __future__ import annotations


def header_value(text: str, max_chars: int) -> str | None:
    """`text` if it is a valid header value: 1 to `max_chars` characters of printable ASCII, no space at either end.
    None otherwise."""
    is_legal = 0 < len(text) <= max_chars and text.isascii() and text.isprintable() and text == text.strip(" ")
    return text if is_legal else None

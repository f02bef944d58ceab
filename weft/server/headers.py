"""`header_value`: what a client sent, as a value that an answer's header can repeat. Knows no route."""

from __future__ import annotations


def header_value(text: str, max_chars: int) -> str | None:
    """`text` where every client can read it as a header's value: 1 to `max_chars` characters of printable ASCII, no
    space at either end. None for any other text."""
    is_legal = 0 < len(text) <= max_chars and text.isascii() and text.isprintable() and text == text.strip(" ")
    return text if is_legal else None

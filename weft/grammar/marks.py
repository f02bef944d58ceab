"""Marks of special tokens and text, as pieces: a token's id, or a text that any tokens may write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence


def pieces_of(mark: str, special: Mapping[str, int]) -> list[str | int]:
    """A mark as the ids of its special tokens and the texts between them. special: {text: id}."""
    within = sorted((text for text in special if text and text in mark), key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, within))})", mark) if within else [mark]
    return [special.get(part, part) for part in parts if part]


def expression_of(pieces: Sequence[str | int]) -> str:
    """The Lark expression of pieces."""
    return " ".join(json.dumps(piece) if isinstance(piece, str) else f"<[{piece}]>" for piece in pieces) or '""'

"""docs/troubleshooting.md quotes messages that the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE, flags=re.MULTILINE)


def texts() -> list[str]:
    """All texts in weft's code, with … for their values."""
    found = []
    for path in (ROOT / "weft").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                found.append(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
    return found


TEXTS = texts()


@pytest.mark.parametrize("message", MESSAGES)
def test_a_quoted_message_is_one_of_the_codes(message):
    pieces = [piece for piece in re.split(r"\s*…\s*", message) if piece]

    assert any(all(piece in text for piece in pieces) for text in TEXTS)


def test_the_page_quotes_messages():
    assert len(MESSAGES) > 15

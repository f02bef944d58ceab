"""`behind_reasoning`: a grammar that begins where an answer's reasoning ends. Called by `compiler.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from weft.structured_outputs import ReasoningPart

_TEXT = r"/(.|\n)*/"
_GAP = r"/[ \t\r\n]{1,4}/"      # models put line ends behind the end mark


def behind_reasoning(grammar: str, part: ReasoningPart, special: Mapping[str, int]) -> str:
    """`grammar` behind free text up to an end mark; both in llguidance's form.

    special: {text: id} of the special tokens. A mark's special tokens must come as such, its other text in any tokens.
    """
    inner = json.loads(grammar)["grammars"] if grammar.startswith("{") else [{"lark_grammar": grammar}]
    name = inner[0].setdefault("name", "form")
    starts = " | ".join(_mark(start, special) for start in part.starts)
    rules = ["%llguidance {}", f"start: {_start(part)} @{name}", f"begin: {starts}", f"gap: {_GAP}", f"text: {_TEXT}"]
    ends = []
    for i, end in enumerate(part.ends):
        first, *rest = _pieces(end, special)
        if isinstance(first, int):
            ends.append(f"text {_expression([first, *rest])}")
        else:
            rules.append(f"end_{i}[lazy]: {_TEXT} {json.dumps(first)}")
            ends.append(f"end_{i} {_expression(rest)}")
    rules.append(f"reasoning: {' | '.join(ends)}")
    return json.dumps({"grammars": [{"name": "answer", "lark_grammar": "\n".join(rules)}, *inner]})


def _start(part: ReasoningPart) -> str:
    if part.is_open:
        return "begin? reasoning gap?"
    return "(begin reasoning gap?)?" if part.is_optional else "begin reasoning gap?"


def _mark(mark: str, special: Mapping[str, int]) -> str:
    return _expression(_pieces(mark, special))


def _expression(pieces: list[str | int]) -> str:
    return " ".join(json.dumps(piece) if isinstance(piece, str) else f"<[{piece}]>" for piece in pieces)


def _pieces(mark: str, special: Mapping[str, int]) -> list[str | int]:
    """A mark as the ids of its special tokens and the texts between them."""
    within = sorted((text for text in special if text and text in mark), key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, within))})", mark) if within else [mark]
    return [special.get(part, part) for part in parts if part]

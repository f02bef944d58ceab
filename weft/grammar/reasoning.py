"""`behind_reasoning`: a grammar that begins where an answer's reasoning ends. Called by `compiler.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from weft.grammar.marks import expression_of, pieces_of
from weft.structured_outputs import ReasoningPart

_TEXT = r"/(.|\n)*/"
_GAP = r"/[ \t\r\n]{1,4}/"      # models put line ends behind the end mark


def behind_reasoning(grammar: str, part: ReasoningPart, special: Mapping[str, int]) -> str:
    """`grammar` behind free text up to an end mark; both in llguidance's form.

    special: {text: id} of the special tokens. A mark's special tokens must come as such, its other text in any tokens.
    """
    inner = json.loads(grammar)["grammars"] if grammar.startswith("{") else [{"lark_grammar": grammar}]
    name = inner[0].setdefault("name", "form")
    starts = " | ".join(expression_of(pieces_of(start, special)) for start in part.starts)
    rules = ["%llguidance {}", f"start: {_start(part)} @{name}", f"begin: {starts}", f"gap: {_GAP}", f"text: {_TEXT}"]
    ends = []
    for i, end in enumerate(part.ends):
        first, *rest = pieces_of(end, special)
        if isinstance(first, int):
            ends.append(f"text {expression_of([first, *rest])}")
        else:
            rules.append(f"end_{i}[lazy]: {_TEXT} {json.dumps(first)}")
            ends.append(f"end_{i} {expression_of(rest)}")
    rules.append(f"reasoning: {' | '.join(ends)}")
    return json.dumps({"grammars": [{"name": "answer", "lark_grammar": "\n".join(rules)}, *inner]})


def _start(part: ReasoningPart) -> str:
    if part.is_open:
        return "begin? reasoning gap?"
    return "(begin reasoning gap?)?" if part.is_optional else "begin reasoning gap?"

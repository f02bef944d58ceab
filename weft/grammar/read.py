"""`read_constraint`: a request's StructuredOutputsParams as a ConstraintSpec. Called by `frontend/inputs.py`."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import any_to_lark

from weft.errors import RequestError
from weft.grammar.form import ConstraintSpec
from weft.grammar.json_schema import JsonStyle, json_grammar
from weft.grammar.structural_tag import tag_grammar
from weft.structured_outputs import StructuredOutputsParams

MAX_BYTES = 1 << 20      # of a grammar's text
# The first rule of a Lark grammar with a mark, by which llguidance's converter does not know it.
_MARKED_START = re.compile(r"(?m)^\s*[?!]+start\s*:")


def read_constraint(params: StructuredOutputsParams) -> ConstraintSpec:
    """The grammar of `params`. RequestError names what of it cannot be enforced."""
    name = params.field(params.kind)
    style = JsonStyle(any_whitespace=not params.disable_any_whitespace, whitespace_pattern=params.whitespace_pattern,
                      closes_objects=params.disable_additional_properties)
    makers = {
        "json": lambda: json_grammar(params.json, style, name),
        "json_object": lambda: json_grammar({"type": "object"}, style, name),
        "regex": lambda: LLMatcher.grammar_from_regex(params.regex or ""),
        "choice": lambda: _choice_grammar(params.choice or []),
        "grammar": partial(_read_grammar, params.grammar or "", name),
        "structural_tag": partial(tag_grammar, params.structural_tag, style, name),
    }
    _check_size(name, getattr(params, params.kind))
    return ConstraintSpec(grammar=makers[params.kind](), field=name, reasoning=params.reasoning or None)


def _choice_grammar(choices: list[str]) -> str:
    # One terminal, which is compiled to an automaton: alternatives of a rule would be tried one by one.
    return LLMatcher.grammar_from_lark("start: CHOICE\nCHOICE: " + " | ".join(json.dumps(choice) for choice in choices))


def _read_grammar(text: str, field: str) -> str:
    """A GBNF or Lark grammar in Lark's form."""
    try:
        return LLMatcher.grammar_from_lark(text if _MARKED_START.search(text) else any_to_lark(text))
    except Exception as error:      # the converter raises several types; the cause is the text
        raise RequestError(field, text, expected="a grammar in GBNF or Lark's form", hint=f"{error}") from error


def _check_size(field: str, value: Any) -> None:
    num_bytes = len(value.encode() if isinstance(value, str) else json.dumps(value))
    if num_bytes > MAX_BYTES:
        raise RequestError(field, f"{num_bytes} bytes", expected=f"at most {MAX_BYTES} bytes")

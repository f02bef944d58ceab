"""`fault_of_schema`: the smallest part of a JSON schema for which llguidance gives an error, by its JSON pointer."""

from __future__ import annotations

import json
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from weft.grammar.schema_parts import DEFINITIONS, subschemas

_MOST_TRIED = 200      # schemas compiled on the way; a wide schema's fault is then named by what is around it
_SHARED = (*DEFINITIONS, "$schema", "x-guidance")      # keys of the root that its parts may refer to


def fault_of_schema(schema: Any, message: str, limits: LLParserLimits) -> str:
    """The JSON pointer of the innermost schema that fails with `message` on its own.

    message: the first line of llguidance's error for the whole schema.
    """
    pointer, found, tried = "#", schema, 0
    while True:
        for inner_pointer, inner in subschemas(found, pointer) if isinstance(found, dict) else ():
            tried += 1
            if tried > _MOST_TRIED:
                return pointer
            if _error(inner, schema, limits) == message:
                pointer, found = inner_pointer, inner
                break
        else:
            return pointer


def schema_of(grammar: str) -> Any:
    """The JSON schema of a grammar that is nothing else; None for other grammars."""
    try:
        return json.loads(grammar)["grammars"][0].get("json_schema")
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
        return None


def _error(part: Any, root: dict[str, Any], limits: LLParserLimits) -> str:
    whole = part if not isinstance(part, dict) else {key: root[key] for key in _SHARED if key in root} | part
    text = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(json.dumps(whole)), limits=limits)
    return first_line(text)


def first_line(text: str) -> str:
    """The part of an error of llguidance that says what is wrong: its first line, and that of a regular expression's
    own error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    own = next((line for line in lines if line.startswith("error: ")), None)
    return " ".join(lines[:1] + ([own] if own else []))

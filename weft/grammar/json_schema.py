"""JSON schemas as grammars."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher

# Between JSON's tokens, unless a request says otherwise: a space, or a line end and an indentation. Bounded, because
# some models would write spaces until max_tokens.
_WHITESPACE = r"\x20|\x0A[\x20\x09]{0,40}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonStyle:
    """How JSON is written, beside its schema.

    any_whitespace: spaces and line ends may stand between tokens. whitespace_pattern: a regular expression of them.
    closes_objects: objects with `properties` have no others, unless the schema says something about others.
    """

    any_whitespace: bool = True
    whitespace_pattern: str | None = None
    closes_objects: bool = False

    def options(self) -> dict[str, Any]:
        """The options of llguidance's JSON compiler."""
        if not self.any_whitespace:
            return {"whitespace_flexible": False}
        return {"whitespace_flexible": True, "whitespace_pattern": self.whitespace_pattern or _WHITESPACE}


def json_grammar(schema: Any, style: JsonStyle, field: str) -> str:
    """The grammar of a JSON schema. RequestError names what of it cannot be enforced."""
    return LLMatcher.grammar_from_json_schema(json.dumps(styled_schema(schema, style, field)))


def styled_schema(schema: Any, style: JsonStyle, field: str) -> dict[str, Any]:
    """The schema with `style` in it, in llguidance's form."""
    if not isinstance(schema, dict):
        schema = {"allOf": [schema]}
    if style.closes_objects:
        schema = _closed(schema)
    return schema | {"x-guidance": style.options()}


def _closed(schema: Any) -> Any:
    """The schema, with `additionalProperties: false` in objects that say nothing of further properties."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: value if name in ("enum", "const", "default", "examples") else _closed(value)
              for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not {"additionalProperties", "patternProperties"} & schema.keys():
        closed["additionalProperties"] = False
    return closed

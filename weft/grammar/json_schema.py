"""JSON schemas as grammars."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher

from weft.grammar.schema_check import check_schema
from weft.grammar.schema_parts import rewritten

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
    """The schema in llguidance's form, with `style` in it. RequestError names what of it cannot be enforced."""
    schema = rewritten(schema, _without_idle)
    check_schema(schema, field)
    if style.closes_objects:
        schema = rewritten(schema, _closed)
    return (schema if isinstance(schema, dict) else {"allOf": [schema]}) | {"x-guidance": style.options()}


def _without_idle(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without keywords whose values ask for nothing, such as `"uniqueItems": false`."""
    idle = {"uniqueItems": (False,), "unevaluatedItems": (True, {}), "unevaluatedProperties": (True, {}),
            "propertyNames": (True, {}, {"type": "string"}), "dependentRequired": ({},), "dependentSchemas": ({},),
            "dependencies": ({},), "not": (False,), "nullable": (False,)}
    return {name: value for name, value in schema.items()
            if not any(value is off or (off not in (True, False) and value == off) for off in idle.get(name, ()))}


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose objects have no other properties than the named ones, unless it says something of others."""
    says = {"additionalProperties", "patternProperties"} & schema.keys()
    return schema if says or not isinstance(schema.get("properties"), dict) else schema | {
        "additionalProperties": False}

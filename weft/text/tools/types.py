"""`ToolTypes`: what the request's tools say about the types of arguments, for formats that write all values as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weft.grammar.schema_parts import at_pointer

_OTHERS = frozenset({"integer", "number", "boolean", "null", "object", "array"})
_NESTED = ("anyOf", "oneOf", "allOf")
_MAX_REFERENCES = 20
_WORDS = {"true": True, "false": False, "none": None, "null": None}


class ToolTypes:
    """Names and parameters of a request's tools.

    names: of the tools; None if no tools are known, so that any name may be one.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]] | None) -> None:
        """tools: as in a request, {"type": "function", "function": {...}} or the function alone."""
        functions = [tool.get("function", tool) for tool in tools or ()]
        self._schemas: dict[str, Any] = {
            function["name"]: function.get("parameters", function.get("input_schema")) for function in functions
            if isinstance(function, Mapping) and isinstance(function.get("name"), str)}
        self.names = None if tools is None else frozenset(self._schemas)

    def parameters(self, name: str) -> list[str]:
        """The names of a tool's parameters, in order."""
        return list(_properties(self._schemas.get(name)))

    def is_string(self, name: str, parameter: str) -> bool:
        """True if the parameter takes strings only."""
        return self._types(name, parameter) == {"string"}

    def excludes_strings(self, name: str, parameter: str) -> bool:
        """True if the tool says what the parameter takes, and strings are not among it."""
        types = self._types(name, parameter)
        return bool(types) and "string" not in types

    def json_of(self, name: str, parameter: str, text: str) -> str:
        """The JSON of a value that was written as bare text: a string, unless the text is a value of another type."""
        types = self._types(name, parameter) or _OTHERS
        value = _value(text)
        try:
            return json.dumps(value if _type_of(value) & types else text, ensure_ascii=False, allow_nan=False)
        except ValueError:                           # infinite, or an integer too long for text
            return json.dumps(text, ensure_ascii=False)

    def _types(self, name: str, parameter: str) -> set[str]:
        """The types that a parameter may have; empty if the tool does not say."""
        root = self._schemas.get(name)
        schema = _properties(root).get(parameter)
        return _types_of(schema, root, _MAX_REFERENCES)


def _properties(schema: Any) -> Mapping[str, Any]:
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _types_of(schema: Any, root: Any, depth: int) -> set[str]:
    if not isinstance(schema, Mapping) or not depth:
        return set()
    if isinstance(schema.get("$ref"), str):
        try:
            return _types_of(at_pointer(root, schema["$ref"]), root, depth - 1)
        except LookupError:
            return set()
    given = schema.get("type")
    types = {given} if isinstance(given, str) else {name for name in given if isinstance(name, str)} if isinstance(
        given, list | tuple) else set()
    for key in _NESTED:
        for part in schema.get(key) or () if isinstance(schema.get(key), list) else ():
            types |= _types_of(part, root, depth - 1)
    if not types:
        values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
        types = set().union(*(_type_of(value) for value in values)) if isinstance(values, list) else set()
    return types


def _value(text: str) -> Any:
    """The value that bare text stands for; the text itself if it is none."""
    stripped = text.strip()
    if stripped.lower() in _WORDS:
        return _WORDS[stripped.lower()]
    try:
        return json.loads(stripped)
    except (ValueError, RecursionError):
        return text


def _type_of(value: Any) -> set[str]:
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case str():
            return {"string"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number", "integer"} if value.is_integer() else {"number"}
        case list():
            return {"array"}
    return {"object"}

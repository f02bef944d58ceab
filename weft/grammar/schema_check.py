"""`check_schema`: refuses, by its JSON pointer, each keyword of a schema that grammars do not enforce.

Only schemas that the root reaches count: a definition that no `$ref` names may hold anything. What llguidance refuses
beyond this is found by `schema_fault.py`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from weft.errors import RequestError, did_you_mean
from weft.grammar.schema_parts import at_pointer, escape, subschemas

ENFORCED = frozenset((
    "type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties", "required", "additionalProperties",
    "patternProperties", "minProperties", "maxProperties", "items", "prefixItems", "additionalItems", "minItems",
    "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "pattern", "format"))
# Keywords that say nothing about which values are valid.
ANNOTATIONS = frozenset((
    "title", "description", "default", "examples", "example", "$comment", "readOnly", "writeOnly", "deprecated",
    "$schema", "$id", "id", "$anchor", "$vocabulary", "$defs", "definitions", "contentMediaType", "contentEncoding",
    "contentSchema", "externalDocs", "xml", "discriminator"))
# Keywords that do, and that no grammar here enforces: with what to do instead.
UNENFORCED = {
    "not": "Say what is allowed instead.", "if": "", "then": "", "else": "", "contains": "", "minContains": "",
    "maxContains": "", "uniqueItems": "Leave it out, and check the answer.", "propertyNames": "Use patternProperties.",
    "dependencies": "", "dependentRequired": "", "dependentSchemas": "", "unevaluatedItems": "Use items.",
    "unevaluatedProperties": "Use additionalProperties.", "$dynamicRef": "Use $ref.", "$recursiveRef": "Use $ref.",
    "$dynamicAnchor": "", "$recursiveAnchor": "", "nullable": 'Use a type such as ["string", "null"].',
    "x-guidance": "Set disable_any_whitespace or whitespace_pattern beside the schema."}
FORMATS = ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid")


def check_schema(schema: Any, field: str) -> None:
    """RequestError for a keyword that is not enforced. field: the request's field that holds the schema."""
    seen: set[str] = set()
    waiting = [("#", schema)]
    while waiting:
        pointer, found = waiting.pop()
        if pointer in seen or not isinstance(found, dict):      # True, False; what else stands there is refused later
            continue
        seen.add(pointer)
        for name, value in found.items():
            _check_keyword(name, value, found, f"{pointer}/{escape(name)}", field)
        waiting += subschemas(found, pointer)
        if isinstance(ref := found.get("$ref"), str):
            waiting.append(_end_of_refs(schema, ref, f"{pointer}/$ref", field))


def refuse(field: str, pointer: str, hint: str = "") -> RequestError:
    """The error for a keyword at `pointer`."""
    return RequestError(field, pointer, expected="keywords that a grammar enforces", hint=hint)


def _check_keyword(name: str, value: Any, schema: dict[str, Any], pointer: str, field: str) -> None:
    if name in UNENFORCED:
        raise refuse(field, pointer, UNENFORCED[name])
    if name == "format" and _may_be_text(schema) and value not in FORMATS:
        raise refuse(field, pointer, f"Of formats, {', '.join(FORMATS)} are enforced, not {str(value)[:100]!r}.")
    if name not in ENFORCED and name not in ANNOTATIONS and not name.startswith("x-"):
        near = did_you_mean(name, ENFORCED)
        if near:      # a misspelt keyword would be ignored; any other unknown one is an annotation
            raise refuse(field, pointer, near)


def _may_be_text(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type", "string")
    return "string" in (kinds if isinstance(kinds, list) else [kinds])


def _end_of_refs(root: Any, ref: str, pointer: str, field: str) -> tuple[str, Any]:
    """(JSON pointer, schema) that a `$ref` leads to. RequestError if the way leads in a circle of `$ref`s alone."""
    first = place, found = _target(root, ref, pointer, field)
    passed = {pointer.removesuffix("/$ref")}
    while isinstance(found, dict) and isinstance(found.get("$ref"), str):
        if place in passed:
            raise RequestError(field, pointer, expected="a $ref that leads to a schema",
                               hint="It leads in a circle, so no value is described.")
        passed.add(place)
        place, found = _target(root, found["$ref"], f"{place}/$ref", field)
    return first


def _target(root: Any, ref: str, pointer: str, field: str) -> tuple[str, Any]:
    """(JSON pointer, schema) that a `$ref` leads to. RequestError if it leads out of the schema, or nowhere."""
    own = root.get("$id", root.get("id")) if isinstance(root, dict) else None
    inside = ref.removeprefix(own.removesuffix("#")) if isinstance(own, str) and own else ref
    place = unquote(inside)
    if place in ("#", ""):
        return "#", root
    if not place.startswith("#/"):
        raise RequestError(field, pointer, expected="a $ref to a place in the schema, such as #/$defs/name",
                           hint=f"It is {ref[:100]!r}.")
    try:
        return place, at_pointer(root, inside)
    except LookupError:
        raise RequestError(field, pointer, expected="a $ref to a place that the schema has",
                           hint=f"There is nothing at {ref[:100]!r}.") from None

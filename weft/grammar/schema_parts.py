"""The schemas that a JSON schema consists of. Knows which keywords hold schemas; anything else in a schema is data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

_ONE = ("items", "additionalItems", "additionalProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_NAMED = ("properties", "patternProperties")
DEFINITIONS = ("$defs", "definitions")      # schemas that count only where a `$ref` leads to them


def subschemas(schema: dict[str, Any], pointer: str) -> Iterator[tuple[str, Any]]:
    """(JSON pointer, schema) of each schema that a schema directly consists of."""
    for name in _ONE:
        if isinstance(schema.get(name), dict | bool):
            yield f"{pointer}/{name}", schema[name]
    for name in _LISTS:
        if isinstance(schema.get(name), list):
            yield from ((f"{pointer}/{name}/{i}", item) for i, item in enumerate(schema[name]))
    for name in _NAMED:
        if isinstance(schema.get(name), dict):
            yield from ((f"{pointer}/{name}/{escape(key)}", item) for key, item in schema[name].items())


def rewritten(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A schema with `change` made to it and to all schemas in it, definitions included, the innermost first.

    Recursive: for schemas whose depth has been checked.
    """
    if not isinstance(schema, dict):
        return schema
    new = dict(schema)
    for name, value in schema.items():
        if isinstance(value, dict) and name in (*_NAMED, *DEFINITIONS):
            new[name] = {key: rewritten(item, change) for key, item in value.items()}
        elif isinstance(value, list) and name in _LISTS:
            new[name] = [rewritten(item, change) for item in value]
        elif name in _ONE:
            new[name] = rewritten(value, change)
    return change(new)


def at_pointer(root: Any, place: str) -> Any:
    """What lies in a JSON value at a place such as "#/$defs/name/items/0". LookupError if there is nothing."""
    found = root
    for part in unquote(place).removeprefix("#").removeprefix("/").split("/") if place not in ("#", "#/", "") else ():
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, Mapping) and key in found:
            found = found[key]
        else:
            raise LookupError(place)
    return found


def escape(name: str) -> str:
    """A key as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")

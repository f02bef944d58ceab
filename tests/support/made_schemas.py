"""JSON schemas of JSONSchemaBench's kinds (tool arguments, API objects, configuration files), made from a seed."""

from __future__ import annotations

import random
from typing import Any

_WORDS = ("name", "id", "value", "kind", "items", "meta", "tags", "count", "url", "état", "a b", "$x", "type", "enum")
_PATTERNS = ("^[a-z]{1,4}$", "^[A-Z][0-9]{2}$", "[xyz]", "^(foo|bar)-[0-9]+$", r"^\d{3}\.\d$")
_FORMATS = ("date", "date-time", "email", "ipv4", "ipv6", "hostname", "time", "uri", "uuid", "duration")
_REFUSED = ({"not": {"type": "null"}}, {"if": {"type": "string"}, "then": {"minLength": 1}}, {"contains": {}},
            {"uniqueItems": True}, {"propertyNames": {"maxLength": 3}}, {"dependentRequired": {"a": ["b"]}},
            {"unevaluatedProperties": False}, {"format": "iri"})


class SchemaMaker:
    """Makes schemas. The same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._defs: dict[str, Any] = {}

    def make(self) -> dict[str, Any]:
        """A schema; one in twelve has a keyword that grammars do not enforce."""
        self._defs = {}
        schema = self._object(0) if self._random.random() < 0.7 else self._any(0)
        if self._random.random() < 1 / 12:
            schema = schema | self._random.choice(_REFUSED)
        if self._defs:
            schema = schema | {"$defs": self._defs}
        return self._annotated(schema)

    def _any(self, depth: int) -> dict[str, Any]:
        kinds = [self._text, self._number, self._enum, self._const, self._null, self._bool]
        if depth < 3:
            kinds += [self._object, self._array, self._tuple, self._union, self._all_of, self._ref, self._map]
        return self._random.choice(kinds)(depth)

    def _object(self, depth: int) -> dict[str, Any]:
        names = self._random.sample(_WORDS, self._random.randint(0, 5))
        schema = {"type": "object", "properties": {name: self._any(depth + 1) for name in names}}
        if names and self._random.random() < 0.8:
            schema["required"] = self._random.sample(names, self._random.randint(1, len(names)))
        match self._random.randrange(4):
            case 0 | 1:
                schema["additionalProperties"] = False
            case 2:
                schema["additionalProperties"] = self._any(depth + 2)
        return self._annotated(schema)

    def _map(self, depth: int) -> dict[str, Any]:
        schema = {"type": "object", "additionalProperties": self._any(depth + 1)}
        if self._random.random() < 0.5:
            schema = {"type": "object", "patternProperties": {"^[a-c]+$": self._any(depth + 1)},
                      "additionalProperties": False}
        low = self._random.randint(0, 2)
        return schema | self._some({"minProperties": low, "maxProperties": low + self._random.randint(0, 2)})

    def _array(self, depth: int) -> dict[str, Any]:
        low = self._random.randint(0, 2)
        return {"type": "array", "items": self._any(depth + 1)} | self._some(
            {"minItems": low, "maxItems": low + self._random.randint(0, 2)})

    def _tuple(self, depth: int) -> dict[str, Any]:
        first = [self._any(depth + 1) for _ in range(self._random.randint(1, 3))]
        return {"type": "array", "prefixItems": first, "items": self._random.choice([False, self._any(depth + 2)]),
                "minItems": self._random.randint(0, len(first)), "maxItems": len(first) + 1}

    def _union(self, depth: int) -> dict[str, Any]:
        if self._random.random() < 0.3:
            return {"type": self._random.sample(["string", "integer", "null", "boolean"], 2)}
        parts = [self._any(depth + 1) for _ in range(self._random.randint(1, 3))]
        return {self._random.choice(["anyOf", "anyOf", "oneOf"]): parts}

    def _all_of(self, depth: int) -> dict[str, Any]:
        parts = [self._object(depth + 1) for _ in range(2)]
        for part in parts:
            part.pop("additionalProperties", None)
        return {"allOf": parts}

    def _ref(self, depth: int) -> dict[str, Any]:
        name = f"d{self._random.randrange(3)}"
        if name not in self._defs:
            self._defs[name] = {"type": "null"}      # until it is made: it may refer to itself
            self._defs[name] = self._any(depth + 1)
        return {"$ref": f"#/$defs/{name}"}

    def _text(self, depth: int) -> dict[str, Any]:
        low = self._random.randint(0, 4)
        extra = self._random.choice([
            {}, {"minLength": low, "maxLength": low + self._random.randint(0, 6)}, {"maxLength": 6},
            {"pattern": self._random.choice(_PATTERNS)}, {"format": self._random.choice(_FORMATS)}])
        return self._annotated({"type": "string"} | extra)

    def _number(self, depth: int) -> dict[str, Any]:
        low = self._random.choice([0, 1, -5, 10, 0.5, -2.25])
        bounds = self._some({"minimum": low, "maximum": low + self._random.choice([1, 7, 100, 1.5])})
        if self._random.random() < 0.2:
            bounds = {"exclusiveMinimum": low, "exclusiveMaximum": low + 3}
        step = {"multipleOf": self._random.choice([2, 5, 0.5, 0.25])} if self._random.random() < 0.15 else {}
        return {"type": self._random.choice(["integer", "number"])} | bounds | step

    def _enum(self, depth: int) -> dict[str, Any]:
        values = ["red", "green", 'q"uote', "é\n", 1, 2.5, None, True, {"a": [1]}, []]
        return {"enum": self._random.sample(values, self._random.randint(1, 5))}

    def _const(self, depth: int) -> dict[str, Any]:
        return {"const": self._random.choice(["v1", 3, None, {"k": "v"}, [1, "x"], False])}

    def _null(self, depth: int) -> dict[str, Any]:
        return {"type": "null"}

    def _bool(self, depth: int) -> dict[str, Any]:
        return {"type": "boolean"}

    def _some(self, keywords: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in keywords.items() if self._random.random() < 0.6}

    def _annotated(self, schema: dict[str, Any]) -> dict[str, Any]:
        if self._random.random() < 0.2:
            return {"title": "T", "description": "d", "default": 1} | schema
        return schema

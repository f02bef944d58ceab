"""The form of an answer in a request's body: `structured_outputs`, `response_format`, and the older `guided_*` fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.compat.vllm.options.accept import accept
from weft.compat.vllm.options.requests import GENERATING
from weft.compat.vllm.options.row import TRANSLATED
from weft.server.errors import bad_field
from weft.structured_outputs import FIELD, StructuredOutputsParams, read_structures

OLDER = frozenset(name for name, option in GENERATING.items() if option.state == TRANSLATED)
_TYPES = ("text", "json_object", "json_schema", "structural_tag")


def form_of(given: Mapping[str, Any]) -> StructuredOutputsParams | None:
    """The form that a body asks for; None if it asks for none. RequestError or ApiError names the wrong field."""
    fields = accept(GENERATING, {name: given[name] for name in (OLDER | {FIELD}) & given.keys()}, known=()).get(FIELD)
    if not isinstance(fields, dict | None):
        raise bad_field(FIELD, fields, expected="an object")
    wanted, source = _format_fields(given.get("response_format"))
    if wanted and fields and any(fields.get(name, value) != value for name, value in wanted.items()):
        raise bad_field("response_format", given["response_format"], expected=f"nothing that contradicts {FIELD}",
                        hint="Give one of them.")
    if not wanted and not fields:
        return None
    older = OLDER & given.keys() - {"guided_whitespace_pattern"}
    return read_structures((fields or {}) | wanted, source=source or (min(older) if len(older) == 1 else ""))


def _format_fields(asked: Any) -> tuple[dict[str, Any], str]:
    """(fields of StructuredOutputsParams, the path that errors name) of a `response_format`."""
    name = "response_format"
    if asked is None:
        return {}, ""
    kind = asked.get("type") if isinstance(asked, dict) else None
    if kind not in _TYPES:
        raise bad_field(f"{name}.type" if isinstance(asked, dict) else name, kind if isinstance(asked, dict) else asked,
                        expected=f"one of {', '.join(_TYPES)}" if isinstance(asked, dict) else "an object")
    if kind == "json_object":
        return {"json_object": True}, name
    if kind == "structural_tag":
        return {"structural_tag": {key: value for key, value in asked.items() if key != "type"}}, name
    if kind == "text":
        return {}, ""
    inner = asked.get("json_schema")
    if not isinstance(inner, dict):
        raise bad_field(f"{name}.json_schema", inner, expected="an object with a schema")
    schema = inner.get("schema", inner.get("json_schema"))
    if not isinstance(schema, dict):
        raise bad_field(f"{name}.json_schema.schema", schema, expected="a JSON schema")
    return {"json": schema or {"type": "object"}}, f"{name}.json_schema.schema"

"""Writes docs/http-api.md from the server's routes, the schemas of their bodies and the table of options.

    python tools/make_http_docs.py            writes the tables into the page; the text around them stays
    python tools/make_http_docs.py --check    exit status 1 when the page is not current

A test runs the check.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from doc_page import main

from weft.server.body_fields import FieldDoc, fields_of
from weft.server.elsewhere import ELSEWHERE
from weft.server.openai.schemas import Body
from weft.server.routes import ROUTES, RouteDoc


def _routes() -> str:
    lines = ["| route | does |", "|---|---|"]
    return "\n".join([*lines, *map(_route, ROUTES)]) + "\n"


def _route(route: RouteDoc) -> str:
    notes = [route.summary]
    notes += [f"`?{name}=` {', '.join(values)}." for name, values in route.query]
    notes += ["Streams."] if route.streams else []
    notes += [f"Only with `{route.option}`."] if route.option else []
    body = f" ([fields](#{_anchor(_first(route))}))" if route.body is not None else ""
    return f"| `{route.method} {route.path}`{body} | {' '.join(notes)} |"


def _anchor(route: RouteDoc) -> str:
    return re.sub(r"[^a-z0-9_ -]", "", f"{route.method} {route.path}".lower()).replace(" ", "-")


def _all_fields() -> str:
    return "\n".join(f"### {route.method} {route.path}\n\n{_fields(route.body)}"
                     for route in ROUTES if route.body is not None and _first(route) is route)


def _first(route: RouteDoc) -> RouteDoc:
    """The first route with the same body, where the page has its fields."""
    return next(other for other in ROUTES if other.body is route.body)


def _fields(body: type[Body]) -> str:
    fields = fields_of(body)
    if not body.options:
        return _table(fields, has_states=False)
    read = [field for field in fields if field.state in ("same", "own", "alias")]
    parts = [_table(read, has_states=True)]
    for state, title in (("ignored", "Ignored"), ("refused", "Refused")):
        found = [field for field in fields if field.state == state]
        by_reason: dict[str, list[str]] = {}
        for field in found:
            by_reason.setdefault(field.say, []).append(f"`{field.name}`")
        if by_reason:
            parts.append("\n".join([f"| {title} | because |", "|---|---|", *(
                f"| {', '.join(names)} | {reason} |" for reason, names in by_reason.items())]) + "\n")
    return "\n".join(parts)


def _table(fields: list[FieldDoc], *, has_states: bool) -> str:
    heads = "| field | values | default |" + (" state | |" if has_states else "")
    lines = [heads, "|---" * (heads.count("|") - 1) + "|"]
    for field in fields:
        default = "required" if field.is_required else _default(field.schema)
        state = f" {field.state} | {field.say} |" if has_states else ""
        lines.append(f"| `{field.name}` | {_kind(field.schema)} | {default} |{state}")
    return "\n".join(lines) + "\n"


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None or value == {} or value == [] else f"`{value!r}`" if isinstance(
        value, str) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(schema: dict[str, Any]) -> str:
    """The values of a JSON schema in a word; null, which always means absent, is left out."""
    if "$ref" in schema:
        return "object"
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds)) or "any"
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("format") == "binary":
        return "file"
    return {"string": "text", "object": "object", None: "any"}.get(schema.get("type"), str(schema.get("type")))


def _elsewhere() -> str:
    lines = ["| routes | what they say |", "|---|---|"]
    for sentence, paths in ELSEWHERE.items():
        shown = ", ".join(f"`{path.replace('{rest:path}', '…')}`" for path in paths)
        lines.append(f"| {shown} | {sentence} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main("docs/http-api.md", {"routes": _routes(), "fields": _all_fields(), "elsewhere": _elsewhere()}))

"""GET /openapi.json and /docs: the API as an OpenAPI document, and a page that shows the document.

The page's files come with weft and load nothing from other sites.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from fastapi import APIRouter, Response

from weft.server.body_fields import OWN, body_schema, fields_of
from weft.server.openai.schemas import Body
from weft.server.options import ServerOptions
from weft.server.page import add_files
from weft.server.routes import ROUTES, RouteDoc
from weft.version import __version__

_IGNORED = "ignored"
_ERRORS = {"400": "A field is wrong; the message names it.", "401": "No key, or a wrong one.",
           "404": "There is no such model, response or route.", "408": "The request's timeout is over.",
           "409": "The model is not in the state that the route needs.", "413": "The body is too large.",
           "429": "Too many requests wait; Retry-After says in how many seconds to come back.",
           "500": "The request failed in the server, whose log says why.",
           "501": "A field or a value that weft has no code for.", "503": "The model cannot answer now."}


def docs_router(options: ServerOptions) -> APIRouter:
    """The routes of the document and of the page. Both show what `options` serve."""
    router = APIRouter()

    @cache
    def document() -> bytes:                 # it takes a tenth of a second, and few open the page
        return msgspec.json.encode(openapi_document(options))

    @router.get("/openapi.json")
    def openapi() -> Response:
        return Response(document(), media_type="application/json")

    add_files(router, "api_docs", page="/docs", folder="/docs")
    return router


def openapi_document(options: ServerOptions) -> dict[str, Any]:
    """The document, with the routes that are there under these options."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Error": _error_schema()}
    for route in ROUTES:
        if route.is_served(options):
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
            if route.body is not None:
                schemas |= _schemas(route.body, is_strict=options.strict_fields)
    keys = {"bearer": {"type": "http", "scheme": "bearer"},
            "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    document: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": "weft", "version": __version__}, "paths": paths,
                                "components": {"schemas": schemas}}
    if options.asks_for_key:
        document["components"]["securitySchemes"] = keys
        document["security"] = [{name: []} for name in keys]
    return document


def _operation(route: RouteDoc) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {}} | ({"text/event-stream": {}} if route.streams else {})
    answers: dict[str, Any] = {"200": {"description": "The answer.", "content": content}}
    found: dict[str, Any] = {"summary": route.summary, "operationId": _operation_id(route), "responses": answers}
    if parameters := [*_path_parameters(route), *_query_parameters(route)]:
        found["parameters"] = parameters
    if route.body is not None:
        kind = "multipart/form-data" if route.has_file else "application/json"
        found["requestBody"] = {"required": True, "content": {kind: {"schema": _ref(route.body)}}}
        error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        answers |= {status: {"description": text, "content": error} for status, text in _ERRORS.items()}
    return found


def _operation_id(route: RouteDoc) -> str:
    words = [word.strip("{}") for word in route.path.split("/") if word and word != "v1"]
    return "_".join([route.method.lower(), *words]).replace(".", "_")


def _path_parameters(route: RouteDoc) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(route: RouteDoc) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": {"type": "string", "enum": list(values)}}
            for name, values in route.query]


def _ref(body: type[Body]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{body.__name__}"}


def _schemas(body: type[Body], *, is_strict: bool) -> dict[str, Any]:
    """The schema of a body by its name, and those that it refers to."""
    own, properties = body_schema(body), {}
    for field in fields_of(body):
        notes = [] if field.state in ("same", OWN) else [f"{field.state.capitalize()}."]
        text = " ".join([*notes, field.say]).strip()
        properties[field.name] = field.schema | ({"description": text} if text else {})
        if field.state == _IGNORED:
            properties[field.name]["deprecated"] = True
    description = (body.__doc__ or "").partition("\n\n")[0]
    schema = {"type": "object", "description": description, "properties": properties,
              "required": own.get("required", []), "additionalProperties": not is_strict}
    return {body.__name__: schema, **own.get("$defs", {})}


def _error_schema() -> dict[str, Any]:
    text = {"type": ["string", "null"]}
    error = {"type": "object", "properties": {"message": {"type": "string"}, "type": {"type": "string"}, "param": text,
                                              "code": {"type": "integer"}}}
    return {"type": "object", "properties": {"error": error}}

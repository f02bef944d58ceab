"""`fields_of`: all fields that a route's body may have, with types and states, read from the schemas themselves.

The OpenAPI document and docs/http-api.md are made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from weft.compat.vllm.options.row import NO_EFFECT, REFUSED, SAME, TRANSLATED
from weft.sampling_params import SamplingParams
from weft.server.openai.schemas import Body

STATES = {SAME: "same", TRANSLATED: "alias", NO_EFFECT: "ignored", REFUSED: "refused"}
OWN = "own"      # state of a field that only weft has
REF = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """One field. schema: JSON schema of its values; {} for any. say: what the table of options says about it."""

    name: str
    schema: dict[str, Any]
    state: str
    say: str
    is_required: bool


def fields_of(body: type[Body]) -> list[FieldDoc]:
    """The fields of a schema, those that are read first."""
    own = body_schema(body)
    known: dict[str, dict[str, Any]] = {**own.get("properties", {}), **{
        name: schema | {"default": body.sampling_defaults[name]} if name in body.sampling_defaults else schema
        for name, schema in _sampling_schemas().items() if name in body.sampling_fields}}
    required = own.get("required", [])
    found = [FieldDoc(name, schema, *_state(body, name), name in required) for name, schema in known.items()]
    return found + [FieldDoc(name, {}, *_state(body, name), False) for name, option in body.options.items()
                    if option.state != SAME and name not in known]


def body_schema(body: type[Body]) -> dict[str, Any]:
    """The JSON schema of the fields that the class itself declares; nested ones under "$defs"."""
    return body.model_json_schema(ref_template=REF)


@cache
def _sampling_schemas() -> dict[str, dict[str, Any]]:
    definitions = msgspec.json.schema(SamplingParams)["$defs"]
    properties = definitions["SamplingParams"]["properties"]
    return {name: _inlined(schema, definitions) for name, schema in properties.items()}


def _inlined(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`schema` with what its references mean."""
    if "$ref" in schema:
        return {key: value for key, value in definitions[schema["$ref"].rpartition("/")[2]].items() if key != "title"}
    if "anyOf" in schema:
        return schema | {"anyOf": [_inlined(each, definitions) for each in schema["anyOf"]]}
    return schema


def _state(body: type[Body], name: str) -> tuple[str, str]:
    option = body.options.get(name)
    return (OWN if body.options else STATES[SAME], "") if option is None else (STATES[option.state], option.say)

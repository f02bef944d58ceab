"""Every keyword of a JSON schema is enforced, or refused by its JSON pointer."""

from __future__ import annotations

import pytest
from byte_grammars import constraint_of, takes

from weft.errors import RequestError
from weft.grammar.schema_check import ANNOTATIONS, ENFORCED, UNENFORCED
from weft.structured_outputs import StructuredOutputsParams as Form

ARRAY, OBJECT, NUMBER, TEXT = ({"type": kind} for kind in ("array", "object", "integer", "string"))
TREE = {"$ref": "#/$defs/node", "$defs": {"node": {
    "type": "object", "properties": {"v": NUMBER, "next": {"$ref": "#/$defs/node"}}, "required": ["v"],
    "additionalProperties": False}}}


@pytest.mark.parametrize(("schema", "good", "bad"), [
    ({"type": ["string", "null"]}, ['"a"', "null"], ["1"]),
    ({"enum": [1, "a", None, {"b": []}]}, ["1", '"a"', "null", '{"b":[]}'], ["2", '"b"']),
    ({"const": {"a": 1}}, ['{"a":1}'], ["{}"]),
    ({"anyOf": [NUMBER, {"type": "boolean"}]}, ["1", "true"], ['"a"']),
    ({"oneOf": [NUMBER, TEXT]}, ["1", '"a"'], ["null"]),
    ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]}, ["3", "5"], ["2", "6"]),
    (TREE, ['{"v":1}', '{"v":1,"next":{"v":2}}'], ['{"v":1,"next":{}}']),
    (OBJECT | {"properties": {"a": NUMBER}, "required": ["a"]}, ['{"a":1,"b":2}'], ["{}", '{"a":"x"}']),
    (OBJECT | {"properties": {"a": NUMBER}, "additionalProperties": TEXT}, ['{"a":1,"b":"x"}'], ['{"a":1,"b":2}']),
    (OBJECT | {"patternProperties": {"^a": NUMBER}, "additionalProperties": False}, ['{"ab":1}'], ['{"b":1}']),
    (OBJECT | {"minProperties": 1, "maxProperties": 2}, ['{"a":1}'], ["{}", '{"a":1,"b":1,"c":1}']),
    (ARRAY | {"items": NUMBER, "minItems": 1, "maxItems": 2}, ["[1]", "[1,2]"], ["[]", "[1,2,3]", '["a"]']),
    (ARRAY | {"prefixItems": [NUMBER, TEXT], "items": False, "minItems": 2}, ['[1,"a"]'], ['[1,"a",1]', "[1]"]),
    (ARRAY | {"items": [NUMBER], "additionalItems": TEXT}, ['[1,"a"]', "[1]"], ["[1,1]"]),
    (NUMBER | {"exclusiveMinimum": 1, "exclusiveMaximum": 4}, ["2", "3"], ["1", "4"]),
    ({"type": "number", "multipleOf": 0.5}, ["1.5", "2"], ["1.25"]),
    (TEXT | {"minLength": 2, "maxLength": 3}, ['"ab"', '"é😀a"'], ['"a"', '"abcd"']),
    (TEXT | {"pattern": "^[ab]+$"}, ['"aba"'], ['"c"', '""']),
    (TEXT | {"format": "date"}, ['"2024-02-29"'], ['"2024-13-01"', '"x"']),
], ids=lambda value: next((key for key in value if key not in ("type", "$defs")), "type") if isinstance(value, dict)
   else "")
def test_an_enforced_keyword_decides_which_values_are_answers(schema, good, bad):
    form = Form(json=schema)

    assert [text for text in good if not takes(form, text)] == []
    assert [text for text in bad if takes(form, text)] == []


def test_each_keyword_is_of_one_kind():
    assert not ENFORCED & ANNOTATIONS and not (ENFORCED | ANNOTATIONS) & UNENFORCED.keys()


@pytest.mark.parametrize("name", UNENFORCED)
@pytest.mark.parametrize(("around", "pointer"), [
    (lambda inner: inner, "#"), (lambda inner: {"properties": {"a/b": inner}}, "#/properties/a~1b"),
    (lambda inner: {"items": {"anyOf": [{}, inner]}}, "#/items/anyOf/1"),
    (lambda inner: {"$ref": "#/$defs/x", "$defs": {"x": {"additionalProperties": inner}}},
     "#/$defs/x/additionalProperties")])
def test_a_keyword_that_is_not_enforced_is_refused_by_its_pointer(name, around, pointer):
    with pytest.raises(RequestError) as caught:
        constraint_of(Form(json=around({name: {"type": "array"}})))

    assert (caught.value.field, caught.value.value) == ("structured_outputs.json", f"{pointer}/{name}")


@pytest.mark.parametrize(("schema", "pointer", "hint"), [
    ({"properties": {"a": {"format": "colour"}}}, "#/properties/a/format", "date-time"),
    ({"items": {"requierd": ["a"]}}, "#/items/requierd", "Did you mean required?"),
    ({"items": {"$ref": "#/$defs/missing"}}, "#/items/$ref", "nothing at '#/$defs/missing'"),
    ({"anyOf": [{"$ref": "https://example.com/a.json"}]}, "#/anyOf/0/$ref", "example.com"),
    ({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
     "#/items/$ref", "circle"),
    ({"properties": {"a": {"items": {"type": "strin"}}}}, "#/properties/a/items", "Invalid type: strin"),
    ({"properties": {"a": {"oneOf": [NUMBER, {"type": "number"}]}}}, "#/properties/a", "oneOf"),
    ({"properties": {"a": TEXT | {"pattern": "(?=a)"}}}, "#/properties/a", "regex"),
    ({"properties": {"a": {"minLength": -1, "type": "string"}}}, "#/properties/a", "minLength"),
    (NUMBER | {"minimum": 3, "maximum": 2}, "#", ""),
])
def test_what_else_cannot_be_enforced_is_refused_by_the_pointer_of_its_schema(schema, pointer, hint):
    with pytest.raises(RequestError) as caught:
        constraint_of(Form(json=schema))

    assert caught.value.value == pointer and hint in str(caught.value)


@pytest.mark.parametrize("extra", [
    {"title": "T", "description": "d", "default": {"not": 1}, "examples": [{"if": 1}], "$comment": "c"},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/x"},
    {"uniqueItems": False, "unevaluatedProperties": True, "propertyNames": {"type": "string"}, "nullable": False},
    {"$defs": {"unused": {"not": {}}}}, {"x-order": 3, "markdownDescription": "m", "errorMessage": {}},
    {"format": "int32"}])
def test_annotations_unused_definitions_and_keywords_that_ask_for_nothing_are_harmless(extra):
    assert takes(Form(json=NUMBER | extra), "12")


def test_a_property_may_be_called_like_a_keyword():
    properties = {"not": NUMBER, "default": {"$ref": "#/$defs/enum"}, "if": TEXT}
    schema = OBJECT | {"properties": properties, "required": ["not", "default"], "$defs": {"enum": {"type": "null"}}}

    assert takes(Form(json=schema, disable_additional_properties=True), '{"not":1,"default":null}')
    assert not takes(Form(json=schema, disable_additional_properties=True), '{"not":1,"default":null,"a":1}')

"""Each form of StructuredOutputsParams allows the answers that follow it, and no others."""

from __future__ import annotations

import pytest
from byte_grammars import EOS, constraint_of, next_ids, takes

from weft.errors import NotBuiltError, RequestError
from weft.grammar.tool_calls import ToolSchema, arguments_form, calls_form, tagged_form
from weft.structured_outputs import StructuredOutputsParams as Form

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
CALLS = {"triggers": ["<f="], "structures": [{"begin": "<f=at>", "schema": POINT, "end": "</f>"}]}
TAG = {"type": "tag", "begin": "<a>", "content": {"type": "any_text"}, "end": "</a>"}
TAGGED = {"type": "triggered_tags", "triggers": ["<a"], "tags": [TAG]}


def tag(form: dict) -> Form:
    return Form(structural_tag={"format": form})


@pytest.mark.parametrize(("form", "good", "bad"), [
    (Form(regex=r"\d{2}|x"), ["12", "x"], ["1", "123", "xx", ""]),
    (Form(regex="^a/b$"), ["a/b"], ["a", "^a/b$"]),
    (Form(choice=["yes", "no", 'q"é\n']), ["yes", "no", 'q"é\n'], ["ye", "yesno", "maybe"]),
    (Form(json=POINT), ['{"x": 1}', '{"x":-20,"y":[1,{}]}', '{\n  "x": 1\n}'], ["{}", '{"x":"1"}', '{"x":1}}', " {}"]),
    (Form(json=POINT, disable_any_whitespace=True), ['{"x":1}'], ['{"x": 1}']),
    (Form(json=POINT, whitespace_pattern=" {3}"), ['{   "x":   1}', '{"x":1}'], ['{ "x":1}']),
    (Form(json=POINT, disable_additional_properties=True), ['{"x": 1}'], ['{"x": 1, "y": 2}']),
    (Form(json='{"type": "boolean"}'), ["true", "false"], ["True", "null"]),
    (Form(json_object=True), ["{}", '{"a": [1, null, "x"]}'], ["[]", "1", ""]),
    (Form(grammar='root ::= "a" b*\nb ::= [0-9] "."'), ["a", "a1.2."], ["", "a1", "b"]),
    (Form(grammar='start: "a" NUMBER*\nNUMBER: /[0-9]/ "."'), ["a", "a1.2."], ["", "a1", "b"]),
    (Form(grammar='\n  ?start: "a" more*\n\n  ?more: /[0-9]/ "."\n'), ["a", "a1.2."], ["", "a1", "b"]),
    (Form(structural_tag=CALLS), ["", "text", 'so <f=at>{"x":1}</f> and <f=at>{"x":2}</f>.'],
     ["<f=", "<f=to>", "<f=at>{}</f>", 'a <f=at>{"x":1}</f> b <f=']),
    (tag(TAGGED), ["", "b<a>cc</a>d", "<a></a><a></a>"], ["<a", "<a>b", "<ab>"]),
    (tag(TAGGED | {"at_least_one": True}), ["<a></a>", "<a>b</a> c"], ["", "c<a></a>"]),
    (tag(TAGGED | {"stop_after_first": True}), ["c", "c<a>b</a>"], ["<a>b</a>c"]),
    (tag(TAGGED | {"stop_after_first": True, "at_least_one": True}), ["<a>b</a>"], ["", "c<a>b</a>", "<a>b</a>c"]),
    (tag({"type": "tags_with_separator", "tags": [TAG], "separator": ","}), ["", "<a></a>", "<a></a>,<a></a>"],
     [",", "<a></a>,", "<a></a><a></a>"]),
    (tag({"type": "sequence", "elements": [
        {"type": "const_string", "value": "<think>"}, {"type": "any_text"}, {"type": "const_string",
                                                                             "value": "</think>"},
        {"type": "or", "elements": [{"type": "regex", "pattern": "[0-9]/"},
                                    {"type": "json_schema", "json_schema": POINT},
                                    {"type": "grammar", "grammar": 'root ::= "z"'}]}]}),
     ["<think></think>1/", '<think>é</think>{"x":1}', "<think>a</think>z"], ["</think>1/", "<think>a</think>b"]),
    (tag({"type": "sequence", "elements": [{"type": "any_text"}, TAG]}), ["x<a>y</a>"], ["x", "x<a>y</a>z"]),
    (arguments_form(ToolSchema("at", POINT)), ['{"x": 1}'], ["{}"]),
    (calls_form([ToolSchema("at", POINT), ToolSchema("now", {})]),
     ['[{"name": "at", "parameters": {"x": 1}}]',
      '[{"name": "now", "parameters": {"a": 2}}, {"name": "at", "parameters": {"x": 1}}]'],
     ["[]", '[{"name": "to", "parameters": {}}]', '[{"name": "at", "parameters": {}}]']),
    (calls_form([ToolSchema("now", {})], parallel=False), ['[{"name": "now", "parameters": {}}]'],
     ['[{"name": "now", "parameters": {}}, {"name": "now", "parameters": {}}]']),
    (tagged_form([ToolSchema("at", POINT)], lambda name: f"<call {name}>", "</call>"),
     ['<call at>{"x": 1}</call>', '<call at>{"x": 1}</call>\n<call at>{"x": 2}</call>'],
     ["", "a", "<call at>{}</call>"]),
    (tagged_form([ToolSchema("at", POINT)], lambda name: f"<call {name}>", "</call>", trigger="<call"),
     ["", "a", 'a <call at>{"x": 1}</call>'], ["<call to>", "<call at>{}</call>"]),
    (tagged_form([ToolSchema("at", POINT)], lambda name: f"<call {name}:{{INDEX}}>", "</call>", trigger="<call"),
     ["a", '<call at:0>{"x": 1}</call> and <call at:12>{"x": 2}</call>'],
     ['<call at>{"x": 1}</call>', '<call at:a>{"x": 1}</call>', "<call at:0>{}</call>", '<call at:0>{"x": 1}']),
], ids=lambda value: value.kind if isinstance(value, Form) else "")
def test_a_form_takes_the_answers_that_follow_it(form, good, bad):
    assert [text for text in good if not takes(form, text)] == []
    assert [text for text in bad if takes(form, text)] == []


def test_references_inside_a_tools_schema_stay_its_own():
    schema = {"type": "object", "properties": {"p": {"$ref": "#/$defs/point"}}, "required": ["p"],
              "additionalProperties": False, "$defs": {"point": POINT}}

    form = calls_form([ToolSchema("a", schema), ToolSchema("b", {"$defs": {"point": {"type": "null"}}} | schema)])

    assert takes(form, '[{"name": "a", "parameters": {"p": {"x": 1}}}]')
    assert not takes(form, '[{"name": "a", "parameters": {"p": null}}]')


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Form(), "structured_outputs = []: expected exactly one of json, regex"),
    (lambda: Form(json={}, regex="a"), "expected exactly one of"),
    (lambda: Form(regex=""), "structured_outputs.regex = '': expected a text that is not empty"),
    (lambda: Form(regex="a\0"), "without the character NUL"),
    (lambda: Form(choice=[]), "structured_outputs.choice = []"),
    (lambda: Form(choice=["a", ""]), "structured_outputs.choice[1] = ''"),
    (lambda: Form(choice=["\ud800"]), "lone surrogate"),
    (lambda: Form(grammar=""), "structured_outputs.grammar = ''"),
    (lambda: Form(json="{"), "structured_outputs.json = '{': expected JSON"),
    (lambda: Form(json="3"), "expected a JSON object"),
    (lambda: Form(json={}), "a schema that is not empty"),
    (lambda: Form(json_object=False), "structured_outputs.json_object = False"),
    (lambda: Form(disable_any_whitespace="yes", regex="a"), "structured_outputs.disable_any_whitespace = 'yes'"),
    (lambda: Form(json={"not": nested(64)}), "'nested 65 deep': expected at most 64 levels"),
])
def test_a_wrong_form_is_refused_with_its_field(make, message):
    with pytest.raises(RequestError) as caught:
        make()

    assert message in str(caught.value)


def nested(depth: int) -> dict:
    return {"items": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(("form", "message"), [
    (Form(regex="("), "structured_outputs.regex = 'a regular expression'"),
    (Form(regex="(?=a)b"), "structured_outputs.regex"),
    (Form(grammar="root ::= missing"), "structured_outputs.grammar"),
    (Form(grammar="no grammar"), "structured_outputs.grammar = 'no grammar': expected a grammar in GBNF or Lark's"),
    (Form(json={"type": "strin"}), "structured_outputs.json"),
    (Form(structural_tag={"a": 1}), "structured_outputs.structural_tag.structures = None"),
    (Form(structural_tag=CALLS | {"triggers": ["<g"]}), "tags[0].begin = '<f=at>': expected a text that begins with"),
    (tag({"type": "tags"}), "structured_outputs.structural_tag.format.type = 'tags': expected one of const_string"),
    (tag({"type": "or", "elements": [{"type": "regex"}]}), "format.elements[0].pattern = None"),
], ids=str)
def test_a_grammar_that_cannot_be_used_is_refused_with_its_field(form, message):
    with pytest.raises(RequestError) as caught:
        constraint_of(form)

    assert message in str(caught.value)


def test_a_format_without_code_is_told():
    with pytest.raises(NotBuiltError, match="qwen_xml_parameter"):
        constraint_of(tag({"type": "qwen_xml_parameter", "json_schema": {}}))


def test_a_constraint_goes_back_and_branches():
    constraint = constraint_of(Form(regex="ab|ac|bc"))
    constraint.accept(ord("a"))
    branch = constraint.new()
    branch.accept(ord("b"))

    assert next_ids(branch) == {EOS} and branch.is_done and branch.is_complete
    assert next_ids(constraint) == {ord("b"), ord("c")} and not constraint.is_complete
    branch.rollback(2)
    assert next_ids(branch) == {ord("a"), ord("b")}

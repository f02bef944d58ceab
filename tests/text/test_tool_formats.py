"""Each format of tool calls: what models write, and the calls and content that are found in it."""

from __future__ import annotations

import json

import pytest

from weft.text.parsing.events import parse_whole
from weft.text.tools.formats import FORMATS
from weft.text.tools.types import ToolTypes

ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {
    "a": {"type": "integer"}, "b": {"type": "string"}}}}}
WRITE = {"type": "function", "function": {"name": "write", "parameters": {"type": "object", "properties": {
    "text": {"type": "string"}, "limit": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    "when": {"$ref": "#/$defs/when"}, "unit": {"enum": ["m", "km"]}, "any": {}},
    "$defs": {"when": {"type": "array"}}}}}
BY_NAME = {name: form for form in FORMATS for name in form.names}


def parsed(name: str, text: str, tools=(ADD, WRITE)):
    return parse_whole(BY_NAME[name].parser(ToolTypes(tools)), text)


def calls(name: str, text: str, tools=(ADD, WRITE)) -> list[tuple[str, object]]:
    return [(call.name, json.loads(call.arguments)) for call in parsed(name, text, tools).tool_calls]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.names[0])
def test_the_example_of_each_format_is_one_call(form):
    answer = parse_whole(form.parser(ToolTypes([ADD])), form.example)

    assert [(call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [("add", {"a": 1, "b": "x"})]
    assert answer.content is None


@pytest.mark.parametrize("form", [form for form in FORMATS if form.tag], ids=lambda form: form.names[0])
def test_a_call_that_strict_forces_is_one_of_the_format(form):
    trigger, begin, end = form.tag

    begin = begin.replace("NAME", "add").replace("{INDEX}", "0")
    answer = parse_whole(form.parser(ToolTypes([ADD])), "Hm. " + begin + '{"a": 1}' + end)

    assert begin.startswith(trigger) and (answer.content or "").strip() == "Hm."
    assert [(call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [("add", {"a": 1})]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.names[0])
def test_text_without_marks_is_content_to_the_last_character(form):
    text = "  It costs 3 < 4 euros, \"so\" {they} [say].\n\nYes?  \n"

    answer = parse_whole(form.parser(ToolTypes([ADD])), text)

    assert (answer.content, answer.tool_calls) == (text, [])


@pytest.mark.parametrize("form", [form for form in FORMATS if form.form is not None and form.form.opens],
                         ids=lambda form: form.names[0])
def test_a_mark_without_a_call_is_content(form):
    text = f"The mark {form.form.opens[0]} begins nothing."

    answer = parse_whole(form.parser(ToolTypes([ADD])), text)

    assert (answer.content, answer.tool_calls) == (text, [])


def test_names_are_not_given_twice():
    names = [name for form in FORMATS for name in form.names]

    assert len(names) == len(set(names))


def test_text_stands_before_between_and_behind_calls():
    text = ('First.\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>\nThen.\n'
            '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>\n\nDone.')

    assert parsed("hermes", text).content == "First.\nThen.\n\nDone."
    assert calls("hermes", text) == [("add", {"a": 1}), ("add", {"a": 2})]


def test_the_arguments_are_the_models_own_text():
    arguments = '{"b":  "\\u00e9 </tool_call> {", "a": 1.0e3, "nested": {"x": [1, {"y": null}]}}'

    answer = parsed("hermes", f'<tool_call>{{"name": "add", "arguments": {arguments}}}</tool_call>')

    assert answer.tool_calls[0].arguments == arguments


@pytest.mark.parametrize(("text", "expected"), [
    ('{"arguments": {"a": 1}, "name": "add"}', {"a": 1}),
    ('{"name": "add", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
    ('{"name": "add", "arguments": null}', {}),
    ('{"name": "add"}', {}),
    ('{"id": 7, "type": "function", "name": "add", "parameters": {"a": 1}}', {"a": 1}),
    ('{"name": "add", "arguments": {"a": 1}}}', {"a": 1}),
])
def test_objects_that_models_write_otherwise(text, expected):
    assert calls("hermes", f"<tool_call>{text}</tool_call>") == [("add", expected)]
    assert parsed("hermes", f"<tool_call>{text}</tool_call>").content is None


@pytest.mark.parametrize("text", [
    '<tool_call>{"name": "add", "argu', '<tool_call>{"nam', "<tool_ca", '<tool_call>{"arguments": {"a": 1}}',
    "<tool_call>not json</tool_call>"])
def test_what_never_became_a_call_is_content(text):
    assert (parsed("hermes", text).content, parsed("hermes", text).tool_calls) == (text, [])


def test_arguments_that_were_cut_short_are_given_as_far_as_they_go():
    answer = parsed("hermes", '<tool_call>{"name": "add", "arguments": {"a": 1, "b": "hal')

    assert answer.tool_calls[0].arguments == '{"a": 1, "b": "hal'


def test_several_calls_in_a_list_and_in_a_row():
    one, two = '{"name": "add", "arguments": {"a": 1}}', '{"name": "add", "arguments": {"a": 2}}'
    both = [("add", {"a": 1}), ("add", {"a": 2})]

    assert calls("jamba", f"<tool_calls>[\n  {one},\n  {two}\n]</tool_calls>") == both
    assert calls("minimax", f"<tool_calls>\n{one}\n{two}\n</tool_calls>") == both
    assert calls("llama3_json", f"{one}; {two}") == both
    assert calls("granite-20b-fc", f"<function_call> {one}\n<function_call> {two}") == both
    assert calls("mistral", f"[TOOL_CALLS] [{one}, {two}]") == both


def test_mistral_names_its_calls_in_three_ways():
    text = 'Hm. [TOOL_CALLS]add{"a": 1}[TOOL_CALLS]add[ARGS]{"a": 2}[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{"a": 3}'

    assert calls("mistral", text) == [("add", {"a": 1}), ("add", {"a": 2}), ("add", {"a": 3})]
    ids = [call.id for call in parsed("mistral", text).tool_calls]
    assert ids[2] == "abcdefghi"
    assert {len(call_id) for call_id in ids} == {9}


def test_kimis_calls_keep_the_ids_that_the_model_gave_them():
    text = ("<|tool_calls_section_begin|><|tool_call_begin|>functions.add:3<|tool_call_argument_begin|>{}"
            "<|tool_call_end|><|tool_calls_section_end|>")

    assert [call.id for call in parsed("kimi_k2", text).tool_calls] == ["functions.add:3"]


@pytest.mark.parametrize("name", ["llama3_json", "pythonic", "xlam"])
def test_without_a_mark_only_a_tool_of_the_request_is_called(name):
    text = {"llama3_json": '{"name": "Ada", "parameters": {}}', "pythonic": "[Ada(x=1)]",
            "xlam": '[{"name": "Ada", "arguments": {}}]'}[name]

    assert (parsed(name, text).content, parsed(name, text).tool_calls) == (text, [])
    assert len(parsed(name, text, tools=None).tool_calls) == 1


def test_a_call_in_a_fence_is_a_call_and_other_json_is_content():
    call = 'I call.\n```json\n[{"name": "add", "arguments": {"a": 1}}]\n```'
    other = 'I show.\n```json\n[{"name": "Ada"}]\n```'

    assert (calls("xlam", call), parsed("xlam", call).content) == ([("add", {"a": 1})], "I call.")
    assert (calls("xlam", other), parsed("xlam", other).content) == ([], other)


def test_values_between_tags_get_the_types_of_the_tool():
    text = ("<tool_call>\n<function=write>\n<parameter=text>\n5\n</parameter>\n<parameter=limit>\nnull\n</parameter>\n"
            "<parameter=when>\n[1, 2]\n</parameter>\n<parameter=unit>\nkm\n</parameter>\n<parameter=any>\ntrue\n"
            "</parameter>\n<parameter=new>\nplain\n</parameter>\n</function>\n</tool_call>")

    assert calls("qwen3_coder", text) == [("write", {
        "text": "5", "limit": None, "when": [1, 2], "unit": "km", "any": True, "new": "plain"})]


def test_text_between_tags_is_kept_but_for_one_newline_at_each_end():
    code = '\n  if a < b:\n    print("é\\n")\n\n'

    text = f"<function=write><parameter=text>\n{code}\n</parameter></function>"

    assert calls("qwen3_coder", text) == [("write", {"text": code})]


def test_a_value_whose_end_is_missing_ends_where_the_next_begins():
    text = ("<tool_call><function=write><parameter=text>\none\n<parameter=limit>\n2\n</function></tool_call> "
            "<tool_call><function=add></tool_call>Bye.")

    assert calls("qwen3_coder", text) == [("write", {"text": "one", "limit": 2}), ("add", {})]
    assert parsed("qwen3_coder", text).content == "Bye."


def test_deepseek_says_itself_which_values_are_strings():
    text = ('<｜DSML｜function_calls><｜DSML｜invoke name="other"><｜DSML｜parameter name="a" string="true">5'
            '</｜DSML｜parameter><｜DSML｜parameter name="b" string="false">5</｜DSML｜parameter></｜DSML｜invoke>'
            '<｜DSML｜invoke name="last"></｜DSML｜invoke></｜DSML｜function_calls>')

    assert calls("deepseek_v32", text) == [("other", {"a": "5", "b": 5}), ("last", {})]


@pytest.mark.parametrize(("written", "expected"), [
    ("[add(a=1, b='it\\'s'), add()]", [("add", {"a": 1, "b": "it's"}), ("add", {})]),
    ('[add(a=-1.5, b="""x "y" z""")]', [("add", {"a": -1.5, "b": 'x "y" z'})]),
    ("[add(a={'k': [True, None, 'a, b)']}, b=null)]", [("add", {"a": {"k": [True, None, "a, b)"]}, "b": None})]),
    ("[add(7, b=open('x'))]", [("add", {"a": 7, "b": "open('x')"})]),
    ("[add(a=1e999, b='')]", [("add", {"a": "1e999", "b": ""})]),
    ("[add(b='a=b')]", [("add", {"b": "a=b"})]),
])
def test_python_calls(written, expected):
    assert calls("pythonic", written) == expected


def test_python_calls_stand_in_lines_for_olmo():
    text = "<function_calls>\nadd(a=1)\nwrite(text='x', limit=null)\n</function_calls>"

    assert calls("olmo3", text) == [("add", {"a": 1}), ("write", {"text": "x", "limit": None})]


def test_gemmas_literals_nest():
    text = ('<|tool_call>call:write{text:<|"|>a, {b}: [c]<|"|>,when:[1,<|"|>x<|"|>,{<|"|>k 1<|"|>:null}]'
            'limit:3.5,any:word}<tool_call|>')

    assert calls("gemma4", text) == [("write", {
        "text": "a, {b}: [c]", "when": [1, "x", {"k 1": None}], "limit": 3.5, "any": "word"})]


def test_harmony_has_reasoning_content_and_calls():
    text = ("<|channel|>analysis<|message|>Add them.<|end|><|start|>assistant<|channel|>commentary<|message|>I add."
            "<|end|><|start|>assistant to=functions.add<|channel|>commentary json<|message|>{\"a\": 1}<|call|>")

    answer = parsed("openai", text)

    assert (answer.reasoning, answer.content) == ("Add them.", "I add.")
    assert calls("openai", text) == [("add", {"a": 1})]


def test_harmony_without_its_special_tokens_is_content():
    assert parsed("openai", "Just text.").content == "Just text."


def test_marks_within_a_quoted_value_of_minicpm_are_text():
    text = ('<function name="write"><param name="text"><![CDATA[a</param> <b>\n]]></param>'
            '<param name="any">[1]</param></function>')

    assert calls("minicpm5", text) == [("write", {"text": "a</param> <b>\n", "any": [1]})]


@pytest.mark.parametrize(("body", "arguments"), [
    ('<|open|>argument key="text" type="string"<|sep|>3<|close|>argument<|sep|>', {"text": "3"}),
    ('<|open|>argument key="say &quot;&amp;&quot;" type="array"<|sep|>[1]<|close|>argument<|sep|>', {'say "&"': [1]}),
    ('<|open|>json type="object"<|sep|>{"text": "x", "any": {"y": 1}}<|close|>json<|sep|>',
     {"text": "x", "any": {"y": 1}}),
    ("", {})])
def test_arguments_of_kimi_k3_stand_one_by_one_or_as_an_object(body, arguments):
    text = ('<|open|>response<|sep|>So:<|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool="write" index="1"'
            f"<|sep|>{body}<|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|>")

    assert parsed("kimi_k3", text).content == "So:"
    assert calls("kimi_k3", text) == [("write", arguments)]


def test_calls_of_hunyuan_3_and_solar_open_2_follow_each_other():
    call = "<tool_call>add<tool_sep>\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>\n"
    hunyuan = "<tool_calls>\n" + call * 2
    solar = "<|tool_call:start|>add\n<|tool_arg:start|>a<|tool_arg:value|>1<|tool_arg:end|>\n<|tool_call:end|>\n" * 2

    assert calls("hy_v3", hunyuan + "</tool_calls>") == calls("solar_open2", solar) == [("add", {"a": 1})] * 2


@pytest.mark.parametrize(("template", "name"), [
    ("<tool_calls><tool_call>{{ x }}<tool_sep><arg_key>", "hy_v3"), ("<tool_call>{{ x }}<arg_key>", "glm45"),
    ("<|open|>tools<|sep|><|open|>call tool=", "kimi_k3"), ("<|tool_call:start|><|tool_arg:start|>", "solar_open2"),
    ('<function name="x"><param name="y">', "minicpm5")])
def test_a_template_tells_the_newer_formats(template, name):
    assert next(form.name for form in FORMATS if form.is_of(template)) == name

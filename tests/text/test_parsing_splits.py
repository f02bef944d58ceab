"""A streamed answer says what the whole answer says, however its text was divided, and whatever the text is."""

from __future__ import annotations

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.text.parsing.chain import Chain
from weft.text.parsing.events import ParsedAnswer, collect, parse_whole
from weft.text.reasoning.formats import FORMATS as REASONING_FORMATS
from weft.text.reasoning.reasoning_format import Opening
from weft.text.tools.formats import FORMATS
from weft.text.tools.types import ToolTypes

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {
    "a": {"type": "integer"}, "b": {"type": "string"}, "c": {}}}}} for name in ("add", "get.it-now", "f")]
PLACED = {
    "hermes": ['Sure.\n<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "</tool_call> {\\"é\\": 😀"}}\n'
               '</tool_call>\n<tool_call>\n{"arguments": {}, "name": "f"}}\n</tool_call> Done.'],
    "mistral": ['[TOOL_CALLS] [{"name": "add", "arguments": {"a": [1, {"x": "]"}]}}]', "[TOOL_CALLS]add[ARGS]{"],
    "llama3_json": ['{"name": "add", "parameters": {"a": 1}}; {"name": "f", "parameters": {}}', '{"name": "x"}'],
    "pythonic": ["[add(a=1, b='it\\'s, [x]', c={'k': None}), f()]", "[add(a=1, b='''x"],
    "qwen3_coder": ["<think>\n</think>\n<function=add>\n<parameter=b>\n\n5 < 6\n\n</parameter>\n<parameter=a>\n1"],
    "openai": ["<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.f<|channel|>commentary "
               "<|constrain|>json<|message|>{\"b\": \"<\"}<|call|>", "<|channel|>final<|message|>Hi<|return|>"],
}
WORDS = ["add", "f", "é", "日本", "😀", "‍", "\n", " ", "\t", "{", "}", "[", "]", '"', "'", "\\", "\\\"", ":", ",",
         "(", ")", "=", "<", ">", "|", "</", "name", '{"name": "add", "arguments": {"a": 1, "b": "x{"}}',
         '"arguments": {', "null", "1e3", "a=1", "```json", "```", "to=", ";", "�", "\x00"]


def marks_of(form) -> list[str]:
    return sorted(mark for mark in form.all_marks if mark) or WORDS


@st.composite
def answers(draw, forms):
    """A format, and a text in which its marks, examples and parts of these stand among anything."""
    form = draw(st.sampled_from(forms))
    whole = [*PLACED.get(form.names[0], ()), *([form.example] if hasattr(form, "example") else [])]
    cut = st.builds(lambda text, end: text[:end], st.sampled_from([*whole, *marks_of(form)]), st.integers(0, 120))
    part = st.one_of(st.sampled_from(WORDS), st.sampled_from(marks_of(form)), cut, st.text(max_size=8),
                     *([st.sampled_from(whole)] if whole else []))
    return form, "".join(draw(st.lists(part, max_size=9)))


def divided(draw, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[begin:end] for begin, end in zip([0, *places], [*places, len(text)], strict=True)]


Parts = tuple[str | None, str | None, list[tuple[str, str, str]]]


def without_ids(answer: ParsedAnswer) -> Parts:
    """Content, reasoning and (id, name, arguments) of the calls, without ids that are drawn."""
    return answer.content, answer.reasoning, [
        (re.sub(r"^call_[0-9a-f]+$|^[a-z0-9]{9}$", "", call.id), call.name, call.arguments)
        for call in answer.tool_calls]


def streamed(parser, pieces: list[str]) -> ParsedAnswer:
    return collect([event for piece in pieces for event in parser.feed(piece)] + parser.finish())


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_tool_calls_are_the_same_in_one_piece_in_any_pieces_and_letter_by_letter(data):
    form, text = data.draw(answers(FORMATS))
    tools = ToolTypes(data.draw(st.sampled_from([TOOLS, None])))

    whole = without_ids(parse_whole(form.parser(tools), text))

    assert without_ids(streamed(form.parser(tools), divided(data.draw, text))) == whole
    assert without_ids(streamed(form.parser(tools), list(text))) == whole


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_reasoning_is_the_same_in_any_pieces(data):
    form, text = data.draw(answers(REASONING_FORMATS))
    tools, text = data.draw(answers(FORMATS)) if data.draw(st.booleans()) else (None, text)
    opening = data.draw(st.sampled_from(Opening))

    def parser():
        return Chain(form.parser(opening), None if tools is None else tools.parser(ToolTypes(TOOLS)))

    whole = without_ids(parse_whole(parser(), text))

    assert without_ids(streamed(parser(), divided(data.draw, text))) == whole
    assert without_ids(streamed(parser(), list(text))) == whole


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-10**6, 10**6), st.text(max_size=12)),
    lambda inner: st.one_of(st.lists(inner, max_size=3),
                            st.dictionaries(st.text("abc é", max_size=4), inner, max_size=3)),
    max_leaves=8)
IN_JSON = [form for form in FORMATS if '{"a": 1, "b": "x"}' in form.example]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_arguments_come_through_the_formats_that_write_them_as_json(data):
    form = data.draw(st.sampled_from(IN_JSON))
    arguments = data.draw(st.dictionaries(st.text("abc \"{é", max_size=5), VALUES, max_size=4))
    written = json.dumps(arguments, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 2])))

    answer = streamed(form.parser(ToolTypes(TOOLS)), divided(
        data.draw, form.example.replace('{"a": 1, "b": "x"}', written)))

    assert [(call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [("add", arguments)]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_arguments_come_through_python_calls(data):
    arguments = data.draw(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3))
    written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())

    answer = streamed(next(form for form in FORMATS if "pythonic" in form.names).parser(ToolTypes(TOOLS)),
                      divided(data.draw, f"[f({written}), add()]"))

    assert [json.loads(call.arguments) for call in answer.tool_calls] == [arguments, {}]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_text_comes_through_tags(data):
    form = next(form for form in FORMATS if "qwen3_coder" in form.names)
    value = data.draw(st.text())

    answer = streamed(form.parser(ToolTypes(TOOLS)), divided(
        data.draw, f"<tool_call>\n<function=f>\n<parameter=b>\n{value}\n</parameter>\n</function>\n</tool_call>"))

    assert [json.loads(call.arguments) for call in answer.tool_calls] == [{"b": value}]


def test_no_text_makes_a_parser_go_back_far():
    """What is put back to be read again is a small part of the text, also where each mark is a disappointment."""
    for form in FORMATS:
        for opener in (form.example[:len(form.example) // 2], *marks_of(form)[:3]):
            parser, put_back = form.parser(ToolTypes(TOOLS)), []
            unread = parser.unread
            parser.unread = lambda text, unread=unread, put_back=put_back: (put_back.append(len(text)), unread(text))
            text = opener * (5_000 // len(opener))

            parser.feed(text)
            parser.finish()

            assert sum(put_back) <= len(text)

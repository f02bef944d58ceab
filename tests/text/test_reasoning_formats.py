"""Each way to mark reasoning, with what the prompt says about it."""

from __future__ import annotations

import pytest

from weft.text.parsing.chain import Chain
from weft.text.parsing.events import parse_whole
from weft.text.reasoning.formats import FORMATS
from weft.text.reasoning.reasoning_format import Opening
from weft.text.tools.formats import FORMATS as TOOL_FORMATS
from weft.text.tools.types import ToolTypes

BY_NAME = {name: form for form in FORMATS for name in form.names}


def split(name: str, text: str, opening: Opening = Opening.UNSAID) -> tuple[str | None, str | None]:
    answer = parse_whole(BY_NAME[name].parser(opening), text)
    return answer.reasoning, answer.content


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.names[0])
def test_reasoning_stands_between_its_marks_and_white_space_around_it_is_left_out(form):
    for start, end in zip(form.starts, form.ends, strict=True):
        answer = parse_whole(form.parser(Opening.UNSAID), f"{start}\nTwo\nand two. {end}\n\nFour. ")

        assert (answer.reasoning, answer.content) == ("Two\nand two.", "Four. ")


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.names[0])
def test_a_prompt_that_began_the_reasoning_needs_no_mark(form):
    opening = form.opening(f"User: 2 + 2?\nAssistant: {form.starts[0]}\n")

    answer = parse_whole(form.parser(opening), f"Two and two.{form.ends[0]}Four.")

    assert (answer.reasoning, answer.content) == ("Two and two.", "Four.")


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.names[0])
def test_a_prompt_that_ended_the_reasoning_is_followed_by_content(form):
    opening = form.opening(f"Assistant: {form.starts[0]}\n\n{form.ends[0]}\n\n")

    answer = parse_whole(form.parser(opening), "Four.")

    assert (answer.reasoning, answer.content) == (None, "Four.")


def test_without_marks_an_answer_is_reasoning_where_that_is_implied_and_content_elsewhere():
    assert split("deepseek_r1", "Hm, two and") == ("Hm, two and", None)
    assert split("qwen3", "Four.") == (None, "Four.")


def test_marks_around_the_content_are_left_out():
    assert split("hunyuan_a13b", "<think>\nHm.\n</think>\n<answer>\nFour.\n</answer>") == ("Hm.", "Four.")


def test_a_start_mark_later_in_the_content_is_content():
    assert split("qwen3", "Write <think> first.") == (None, "Write <think> first.")


def test_a_call_ends_reasoning_that_the_model_forgot_to_end():
    hermes = next(form for form in TOOL_FORMATS if "hermes" in form.names)
    parser = Chain(BY_NAME["qwen3"].parser(Opening.UNSAID), hermes.parser(ToolTypes(None)))

    answer = parse_whole(parser, '<think>I add.\n<tool_call>{"name": "add", "arguments": {}}</tool_call>')

    assert (answer.reasoning, answer.content) == ("I add.", None)
    assert [call.name for call in answer.tool_calls] == ["add"]


def test_calls_inside_the_reasoning_are_not_made():
    hermes = next(form for form in TOOL_FORMATS if "hermes" in form.names)
    parser = Chain(BY_NAME["deepseek_r1"].parser(Opening.UNSAID), hermes.parser(ToolTypes(None)))

    answer = parse_whole(parser, '<think>Shall I write <tool_call>{"name": "add"}</tool_call>?</think>No.')

    assert (answer.tool_calls, answer.content) == ([], "No.")


def test_the_place_of_the_reasoning_is_known():
    parser = BY_NAME["qwen3"].parser(Opening.UNSAID)

    parse_whole(parser, "<think>Hm.</think>\n\nFour.")

    assert parser.reasoning_spans == [(0, len("<think>Hm.</think>"))]

"""Parsers are chosen by name, found in the chat template, or registered by users."""

from __future__ import annotations

import logging

import pytest

from weft.errors import ConfigError
from weft.text.parsing.events import Content, parse_whole
from weft.text.parsing.kind import ParseRequest
from weft.text.parsing.parsers import Parsers, choose_parsers
from weft.text.parsing.registry import REASONING_PARSERS, TOOL_PARSERS, ParserRegistry
from weft.text.tools.formats import FORMATS


class Source:
    """As much of a tokenizer as the choice looks at."""

    def __init__(self, template: str, special: dict[int, str] | None = None) -> None:
        self.source, self.chat_templates = None, {"default": template}
        self.special_texts = {text: token_id for token_id, text in (special or {}).items()}


def names(parsers: Parsers) -> tuple[str | None, str | None]:
    return (parsers.tools.name if parsers.tools else None, parsers.reasoning.name if parsers.reasoning else None)


QWEN3 = '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call> {{ "</think>" }}'


@pytest.mark.parametrize(("template", "expected"), [
    ("{{ messages[0].content }}", (None, None)),
    (QWEN3, ("hermes", "qwen3")),
    ("<tool_call>\n<function=example>\n<parameter=p>", ("qwen3_coder", None)),
    ("[gMASK]<sop> <tool_call> <arg_key> <think></think>", ("glm45", "glm45")),
    ("<|channel|>analysis<|message|>", ("openai", "openai_gptoss")),
    ("[TOOL_CALLS]", ("mistral", None)),
    ("<｜Assistant｜> <｜tool▁calls▁begin｜> ```json </think>", ("deepseek_v3", "deepseek_r1")),
    ("<｜Assistant｜> <｜tool▁calls▁begin｜> {% if thinking %} </think>", ("deepseek_v31", "deepseek_v3")),
    ('Environment: ipython\n {"name": function name, "parameters": ...} <|python_tag|>', ("llama3_json", None)),
    ("<minimax:tool_call> <think>", ("minimax_m2", "minimax_m2")),
    ("<|tool_call_argument_begin|> <think></think>", ("kimi_k2", "kimi_k2")),
])
def test_the_chat_template_tells_the_formats(template, expected):
    assert names(choose_parsers(Source(template), tools=None, reasoning=None)) == expected


def test_the_log_says_what_was_found_and_how_to_choose_another(caplog):
    with caplog.at_level(logging.INFO, "weft"):
        choose_parsers(Source(QWEN3), tools=None, reasoning="none")

    assert [record.message for record in caplog.records] == [
        "tool_call_parser: hermes, because of the chat template; --tool-call-parser chooses another, or none"]


def test_a_name_counts_more_than_the_template():
    assert names(choose_parsers(Source(QWEN3), tools="xlam", reasoning="none")) == ("xlam", None)


def test_every_name_of_a_format_chooses_it():
    assert all(TOOL_PARSERS.find(name) is form for form in FORMATS for name in form.names)


def test_an_unknown_name_tells_the_nearest():
    with pytest.raises(ConfigError, match=r"tool_call_parser = 'herms': .* Did you mean hermes\?"):
        choose_parsers(None, tools="herms", reasoning=None)
    with pytest.raises(ConfigError, match=r"reasoning_parser = 'qwen33': .* Did you mean qwen3\?"):
        choose_parsers(None, tools=None, reasoning="qwen33")


def test_a_registered_parser_is_chosen_by_its_name():
    registry = ParserRegistry("tool_call_parser", FORMATS)

    @registry.register("shout")
    class Shout:
        def __init__(self, request: ParseRequest) -> None:
            self.tools = request.tools

        def feed(self, text, token_ids=()):
            return [Content(text.upper())]

        def finish(self):
            return []

    parser = Parsers(tools=registry.find("shout")).make(ParseRequest(tools=[]), with_tools=True)

    assert parse_whole(parser, "hi").content == "HI"


def test_special_tokens_stay_in_the_text_only_where_a_mark_is_one():
    parsers = choose_parsers(None, tools="hermes", reasoning="qwen3")
    plain, special = Source("", {1: "<|im_end|>"}), Source("", {1: "<|im_end|>", 2: "<tool_call>"})

    assert not parsers.need_special_tokens(plain, with_tools=True)
    assert parsers.need_special_tokens(special, with_tools=True)
    assert parsers.need_special_tokens(special, with_tools=False)       # a call ends the reasoning, too
    assert not Parsers(parsers.tools, None).need_special_tokens(special, with_tools=False)


def test_without_tools_what_looks_like_a_call_is_content():
    text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    parsers = choose_parsers(None, tools="hermes", reasoning="glm45")

    assert parse_whole(parsers.make(ParseRequest(), with_tools=False), text).content == text
    assert len(parse_whole(parsers.make(ParseRequest(), with_tools=True), text).tool_calls) == 1
    assert Parsers(parsers.tools, None).make(ParseRequest(), with_tools=False) is None


def test_harmony_finds_reasoning_and_calls_by_one_parser():
    text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes."
    parsers = Parsers(None, REASONING_PARSERS.find("openai_gptoss"))

    answer = parse_whole(parsers.make(ParseRequest(), with_tools=False), text)

    assert (answer.reasoning, answer.content) == ("Hm.", "Yes.")


def test_an_answer_that_may_call_no_tools_has_no_calls():
    parsers = Parsers(reasoning=REASONING_PARSERS.find("openai_gptoss"))
    request = ParseRequest(tools=[{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}])
    text = ('<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>commentary to=functions.add '
            '<|constrain|>json<|message|>{"a": 1}<|call|>')

    may, may_not = (parse_whole(parsers.make(request, with_tools=with_tools), text) for with_tools in (True, False))

    assert [call.arguments for call in may.tool_calls] == ['{"a": 1}']
    assert (may_not.tool_calls, may_not.reasoning) == ([], 'Hm\n{"a": 1}')

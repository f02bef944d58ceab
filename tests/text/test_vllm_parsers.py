"""Parsers that were written for vLLM, of several of its versions, run as they are."""

from __future__ import annotations

import json
import textwrap

import pytest

from weft.errors import ConfigError
from weft.extend.python_file import load_python_file
from weft.text.parsing.events import ParsedAnswer, collect, parse_whole
from weft.text.parsing.kind import ParseRequest
from weft.text.parsing.registry import REASONING_PARSERS, TOOL_PARSERS

# In the manner of vLLM 0.8: names under entrypoints/openai, a decorator, calls that are told when they are whole.
OLD_TOOLS = '''
    import json
    from typing import Sequence, Union
    from vllm.entrypoints.chat_utils import make_tool_call_id
    from vllm.entrypoints.openai.protocol import (ChatCompletionRequest, DeltaFunctionCall, DeltaMessage, DeltaToolCall,
                                                  ExtractedToolCallInformation, FunctionCall, ToolCall)
    from vllm.entrypoints.openai.tool_parsers.abstract_tool_parser import ToolParser, ToolParserManager
    from vllm.logger import init_logger
    from vllm.transformers_utils.tokenizer import AnyTokenizer, MistralTokenizer

    logger = init_logger(__name__)

    @ToolParserManager.register_module(["arrow", "arrow_too"])
    class ArrowToolParser(ToolParser):
        def __init__(self, tokenizer: AnyTokenizer):
            super().__init__(tokenizer)
            assert not isinstance(self.model_tokenizer, MistralTokenizer)
            self.mark = "=> "
            self.has_mark = self.mark in self.vocab

        def extract_tool_calls(self, model_output: str, request: ChatCompletionRequest) -> ExtractedToolCallInformation:
            before, mark, rest = model_output.partition(self.mark)
            if not mark:
                return ExtractedToolCallInformation(tools_called=False, tool_calls=[], content=model_output)
            names = [tool.function.name for tool in request.tools]
            name, _, arguments = rest.partition(" ")
            assert name in names
            json.loads(arguments)
            call = ToolCall(type="function", function=FunctionCall(name=name, arguments=arguments))
            return ExtractedToolCallInformation(tools_called=True, tool_calls=[call], content=before or None)

        def extract_tool_calls_streaming(self, previous_text, current_text, delta_text, previous_token_ids,
                                         current_token_ids, delta_token_ids, request) -> Union[DeltaMessage, None]:
            before, mark, rest = current_text.partition(self.mark)
            if not mark:
                return DeltaMessage(content=delta_text) if not current_text.endswith(("=", "=>")) else None
            if not rest.endswith("}"):
                return None
            name, _, arguments = rest.partition(" ")
            self.prev_tool_call_arr = [{"name": name, "arguments": json.loads(arguments)}]
            self.streamed_args_for_tool = ['{"a"']
            return DeltaMessage(tool_calls=[DeltaToolCall(index=0, type="function", id=make_tool_call_id(),
                function=DeltaFunctionCall(name=name, arguments='{"a"').model_dump(exclude_none=True))])
'''
# In the manner of 0.16 and later: the tools come to the constructor; registered by a call.
NEW_TOOLS = '''
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.engine.protocol import (DeltaMessage, ExtractedToolCallInformation,
                                                         FunctionCall, ToolCall)
    from vllm.tool_parsers import ToolParser, ToolParserManager
    from vllm.tool_parsers.utils import find_common_prefix

    class EachToolParser(ToolParser):
        def __init__(self, tokenizer, tools=None):
            super().__init__(tokenizer, tools)

        def extract_tool_calls(self, model_output, request):
            calls = [ToolCall(function=FunctionCall(name=tool.function.name, arguments="{}")) for tool in self.tools]
            return ExtractedToolCallInformation(tools_called=True, tool_calls=calls, content=None)

    ToolParserManager.register_module(name="each", module=EachToolParser)
'''
REASONING = '''
    from vllm.reasoning.abs_reasoning_parsers import ReasoningParserManager
    from vllm.reasoning.deepseek_r1_reasoning_parser import DeepSeekR1ReasoningParser

    @ReasoningParserManager.register_module("nano")
    class NanoReasoningParser(DeepSeekR1ReasoningParser):
        def __init__(self, tokenizer, *args, **kwargs):
            super().__init__(tokenizer, *args, **kwargs)
            self.kwargs = kwargs.get("chat_template_kwargs") or {}

        def extract_reasoning(self, model_output, request):
            reasoning, content = super().extract_reasoning(model_output, request)
            if self.kwargs.get("enable_thinking") is False and content is None:
                return None, reasoning
            return reasoning, content
'''
OLD_REASONING = '''
    from vllm.entrypoints.openai.protocol import DeltaMessage
    from vllm.reasoning import ReasoningParser, ReasoningParserManager

    @ReasoningParserManager.register_module("bar")
    class BarReasoningParser(ReasoningParser):
        def is_reasoning_end(self, input_ids):
            return 124 in input_ids

        def extract_content_ids(self, input_ids):
            return []

        def extract_reasoning_content(self, model_output, request):
            reasoning, _, content = model_output.partition("|")
            return reasoning, content

        def extract_reasoning_content_streaming(self, previous_text, current_text, delta_text, previous_token_ids,
                                                current_token_ids, delta_token_ids):
            before, bar, after = delta_text.partition("|")
            if not bar:
                return DeltaMessage(reasoning_content=delta_text)
            return DeltaMessage(reasoning_content=before, content=after)
'''
OLDER_THINKING = '''
    from vllm.reasoning import ReasoningParserManager
    from vllm.reasoning.deepseek_r1_reasoning_parser import DeepSeekR1ReasoningParser

    @ReasoningParserManager.register_module("older")
    class OlderThinkingParser(DeepSeekR1ReasoningParser):
        def extract_reasoning_content(self, model_output, request):
            reasoning, content = super().extract_reasoning_content(model_output, request)
            return reasoning.upper(), content

        def extract_reasoning_content_streaming(self, *seen):
            delta = super().extract_reasoning_content_streaming(*seen)
            if delta is not None and delta.reasoning:
                delta.reasoning = delta.reasoning.upper()
            return delta
'''
FAILING = '''
    from vllm.entrypoints.openai.protocol import DeltaMessage
    from vllm.reasoning import ReasoningParser, ReasoningParserManager
    from vllm.tool_parsers import ToolParser, ToolParserManager

    @ToolParserManager.register_module("failing")
    class FailingTools(ToolParser):
        def extract_tool_calls_streaming(self, previous_text, current_text, delta_text, *rest):
            if "!" in delta_text:
                raise RuntimeError("no marks")
            return DeltaMessage(content=delta_text)

    @ToolParserManager.register_module("failing_end")
    class FailingEnd(FailingTools):
        prev_tool_call_arr = property(lambda self: 1 / 0, lambda self, value: None)

    @ReasoningParserManager.register_module("failing")
    class FailingReasoning(ReasoningParser):
        def extract_reasoning(self, model_output, request):
            raise RuntimeError("no reasoning")

        def extract_reasoning_streaming(self, previous_text, current_text, delta_text, *rest):
            if "!" in delta_text:
                raise RuntimeError("no reasoning")
            return DeltaMessage(reasoning=delta_text)
'''
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
         {"type": "function", "function": {"name": "sub"}}]


class Tokenizer:
    """A byte tokenizer with the marks of reasoning, as transformers' are asked."""

    @property
    def hf(self):
        return self

    def get_vocab(self):
        return {"<think>": 256, "</think>": 257}


@pytest.fixture(autouse=True)
def registered(tmp_path):
    for name, source in (("old_tools", OLD_TOOLS), ("new_tools", NEW_TOOLS), ("reasoning", REASONING),
                         ("old_reasoning", OLD_REASONING), ("older_thinking", OLDER_THINKING), ("failing", FAILING)):
        file = tmp_path / f"{name}.py"
        file.write_text(textwrap.dedent(source))
        load_python_file(file, field="tool_parser_plugin")


def make(registry, name: str, **fields):
    return registry.find(name).make(ParseRequest(**{"tools": TOOLS, "tokenizer": Tokenizer(),
                                                    "body": {"tools": TOOLS, "messages": []}} | fields))


def streamed(parser, *pieces: str) -> ParsedAnswer:
    return collect([event for piece in pieces for event in parser.feed(piece, list(piece.encode()))] + parser.finish())


@pytest.mark.parametrize("name", ["arrow", "arrow_too"])
def test_a_whole_answer_goes_to_the_method_for_whole_answers(name):
    answer = parse_whole(make(TOOL_PARSERS, name, is_streamed=False), 'Hm. => add {"a": 1}')

    assert (answer.content, answer.tool_calls[0].name, answer.tool_calls[0].arguments) == ("Hm. ", "add", '{"a": 1}')


def test_a_stream_gets_the_arguments_that_the_parser_did_not_stream():
    answer = streamed(make(TOOL_PARSERS, "arrow"), "Hm. ", "=", "> ", "add ", '{"a": ', "1}")

    assert answer.content == "Hm. "
    assert [(call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [("add", {"a": 1})]


def test_an_answer_at_which_a_parser_fails_is_content(caplog):
    answer = parse_whole(make(TOOL_PARSERS, "arrow", is_streamed=False), "=> add {broken")

    assert (answer.content, answer.tool_calls) == ("=> add {broken", [])
    assert "ArrowToolParser failed at an answer" in caplog.text


def test_a_newer_parser_is_made_with_the_tools():
    answer = parse_whole(make(TOOL_PARSERS, "each", is_streamed=False), "x")

    assert [call.name for call in answer.tool_calls] == ["add", "sub"]


def test_reasoning_of_a_subclass_of_vllms_parser():
    whole = parse_whole(make(REASONING_PARSERS, "nano", is_streamed=False), "<think>Hm.</think>Four.")
    stream = streamed(make(REASONING_PARSERS, "nano"), "<think>", "Hm", ".", "</think>", "Four.")

    assert (whole.reasoning, whole.content) == (stream.reasoning, stream.content) == ("Hm.", "Four.")


def test_a_parser_gets_the_settings_of_the_chat_template():
    parser = make(REASONING_PARSERS, "nano", is_streamed=False,
                  body={"chat_template_kwargs": {"enable_thinking": False}})

    assert parse_whole(parser, "Four.").content == "Four."


def test_a_prompt_that_ended_the_reasoning_is_followed_by_content():
    parser = make(REASONING_PARSERS, "nano", prompt_token_ids=[1, 256, 257])

    assert streamed(parser, "Four").content == "Four"


def test_the_older_names_of_a_reasoning_parsers_methods_work():
    whole = parse_whole(make(REASONING_PARSERS, "bar", is_streamed=False), "Hm.|Four.")
    stream = streamed(make(REASONING_PARSERS, "bar"), "Hm", ".|Fo", "ur.|")

    assert (whole.reasoning, whole.content) == ("Hm.", "Four.")
    assert (stream.reasoning, stream.content) == ("Hm.", "Four.|")


def test_the_older_names_are_called_under_the_class_of_marks_too():
    whole = parse_whole(make(REASONING_PARSERS, "older", is_streamed=False), "<think>Hm.</think>Four.")
    stream = streamed(make(REASONING_PARSERS, "older"), "Hm", ".</think>Fo", "ur.")

    assert (whole.reasoning, whole.content) == (stream.reasoning, stream.content) == ("HM.", "Four.")


@pytest.mark.parametrize(("registry", "name"), [(TOOL_PARSERS, "failing"), (REASONING_PARSERS, "failing")])
def test_where_a_parser_fails_the_rest_of_a_stream_is_content(registry, name, caplog):
    found = streamed(make(registry, name), "One ", "two! ", "three! ", "four")

    assert (found.reasoning or "") + found.content == "One two! three! four"
    assert found.content.endswith("two! three! four")
    assert sum("failed at an answer" in line for line in caplog.messages) == 1


def test_where_a_parser_fails_a_whole_answer_is_content(caplog):
    assert parse_whole(make(REASONING_PARSERS, "failing", is_streamed=False), "One").content == "One"
    assert parse_whole(make(TOOL_PARSERS, "failing", is_streamed=False), "One").content == "One"
    assert "FailingReasoning failed at an answer" in caplog.text and "NotImplementedError" in caplog.text


def test_a_parser_that_fails_at_the_end_takes_nothing_back(caplog):
    assert streamed(make(TOOL_PARSERS, "failing_end"), "One ", "two").content == "One two"
    assert "ZeroDivisionError" in caplog.text


def test_managers_know_what_was_registered_and_refuse_what_is_no_parser(tmp_path):
    file = tmp_path / "more.py"
    file.write_text(textwrap.dedent('''
        from vllm.tool_parsers import ToolParser, ToolParserManager
        assert ToolParserManager.get_tool_parser("arrow").__name__ == "ArrowToolParser"
        assert "each" in ToolParserManager.list_registered()
        ToolParserManager.register_lazy_module("late", "json", "JSONDecoder")
        for module, force in ((dict, True), (ToolParser, False)):
            try:
                ToolParserManager.register_module("each", force, module)
            except (TypeError, KeyError) as error:
                continue
            raise AssertionError(module)
        '''))

    load_python_file(file, field="tool_parser_plugin")

    with pytest.raises(TypeError, match="JSONDecoder"):
        make(TOOL_PARSERS, "late")


def test_a_class_of_vllms_that_weft_has_not_says_so_when_it_is_used(tmp_path):
    file = tmp_path / "borrows.py"
    file.write_text("from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser\n"
                    "class Mine(Hermes2ProToolParser): pass\nMine(None)\n")

    with pytest.raises(ConfigError, match=r"docs/tools\.md"):
        load_python_file(file, field="tool_parser_plugin")

"""Agents on /v1/messages and /v1/responses, through the official clients: thinking, calls of tools, their results."""

from __future__ import annotations

import anthropic
import openai
import pytest
from fake_engine import CALL, FakeEngine, text_of

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
TOOL = {"name": "add", "description": "Adds.", "input_schema": SCHEMA}
FUNCTION = {"type": "function", "name": "add", "description": "Adds.", "parameters": SCHEMA, "strict": False}
TEMPLATE = ("{% if tools %}Write <tool_call>…</tool_call>.\n{% endif %}{% for m in messages %}{{ m.role }}: "
            "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
            "{% for call in m.tool_calls or [] %}[{{ call.function.name }} {{ call.function.arguments.a }}]{% endfor %}"
            "{% endfor %}assistant: {% if enable_thinking is false %}<think></think>{% endif %}")
THINKS_AND_CALLS = f"<think>Add.</think>\n\nI add.\n{CALL}"
HI = [{"role": "user", "content": "1 + 2?"}]


@pytest.fixture
def serve(start_server):
    """serve(reply, …) -> (engine, URL): the engine says one reply after the other."""
    def start(*replies: str):
        engine = FakeEngine(list(replies), chat_template=TEMPLATE)
        return engine, start_server(engine)

    return start


def claude(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0)


def responses(url: str):
    return openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0).responses


def test_a_message_has_blocks_of_thinking_text_and_calls_streamed_as_whole(serve):
    client = claude(serve(THINKS_AND_CALLS)[1])
    options = {"model": "toy", "max_tokens": 300, "messages": HI, "tools": [TOOL]}

    whole = client.messages.create(**options)
    with client.messages.stream(**options) as stream:
        events = list(stream)
        streamed = stream.get_final_message()

    for message in (whole, streamed):
        thinking, text, call = message.content
        assert (thinking.type, thinking.thinking, bool(thinking.signature)) == ("thinking", "Add.", True)
        assert (text.type, text.text) == ("text", "I add.")
        assert (call.type, call.name, call.input) == ("tool_use", "add", {"a": 1, "b": 2})
        assert message.stop_reason == "tool_use"
    deltas = [event.delta.type for event in events if event.type == "content_block_delta"]
    assert list(dict.fromkeys(deltas)) == ["thinking_delta", "signature_delta", "text_delta", "input_json_delta"]
    starts = [event.index for event in events if event.type == "content_block_start"]
    assert starts == [event.index for event in events if event.type == "content_block_stop"] == [0, 1, 2]


def test_an_agent_on_messages_calls_a_tool_and_answers_with_its_result(serve):
    engine, url = serve(THINKS_AND_CALLS, "It is 3.")
    client, messages = claude(url), list(HI)
    while True:
        message = client.messages.create(model="toy", max_tokens=300, messages=messages, tools=[TOOL])
        if message.stop_reason != "tool_use":
            break
        messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": block.id, "content": str(block.input["a"] + block.input["b"])}
            for block in message.content if block.type == "tool_use"]}]

    assert [block.text for block in message.content] == ["It is 3."]
    assert "assistant: <think>Add.</think>I add.[add 1]tool: 3" in text_of(engine)


@pytest.mark.parametrize("thinking, kinds, is_off", [
    ({"type": "enabled", "budget_tokens": 1024}, ["thinking", "text"], False),
    ({"type": "enabled", "budget_tokens": 1024, "display": "omitted"}, ["text"], False),
    ({"type": "disabled"}, ["text"], True), ({"type": "adaptive"}, ["thinking", "text"], False)])
def test_a_message_says_whether_the_model_thinks(serve, thinking, kinds, is_off):
    engine, url = serve("Hi." if thinking["type"] == "disabled" else "<think>Hm.</think>Hi.")

    message = claude(url).messages.create(model="toy", max_tokens=300, messages=HI, thinking=thinking)

    assert [block.type for block in message.content] == kinds
    assert text_of(engine).endswith("<think></think>") is is_off


def test_a_call_that_is_cut_short_has_the_arguments_that_are_there(serve):
    message = claude(serve('<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "tw')[1]).messages.create(
        model="toy", max_tokens=300, messages=HI, tools=[TOOL])

    assert message.content[0].input == {"a": 1, "b": "tw"}


def test_a_response_has_items_of_reasoning_text_and_calls_streamed_as_whole(serve):
    client = responses(serve(THINKS_AND_CALLS)[1])
    options = {"model": "toy", "input": "1 + 2?", "tools": [FUNCTION]}

    whole = client.create(**options)
    with client.stream(**options) as stream:
        events = list(stream)
        streamed = stream.get_final_response()

    for response in (whole, streamed):
        reasoning, message, call = response.output
        assert (reasoning.type, reasoning.content[0].text, reasoning.summary) == ("reasoning", "Add.", [])
        assert (message.type, message.content[0].text) == ("message", "I add.")
        assert (call.type, call.name, call.arguments) == ("function_call", "add", '{"a": 1, "b": 2}')
        assert {item.status for item in response.output} == {"completed"}
        assert response.usage.output_tokens_details.reasoning_tokens == len("<think>Add.</think>")
    kinds = [event.type.removeprefix("response.") for event in events]
    assert list(dict.fromkeys(kinds)) == [
        "created", "in_progress", "output_item.added", "content_part.added", "reasoning_text.delta",
        "reasoning_text.done", "content_part.done", "output_item.done", "output_text.delta", "output_text.done",
        "function_call_arguments.delta", "function_call_arguments.done", "completed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))


@pytest.mark.parametrize("is_stored", [True, False])
def test_an_agent_on_responses_calls_a_function_and_answers_with_its_result(serve, is_stored):
    engine, url = serve(THINKS_AND_CALLS, "It is 3.")
    client = responses(url)
    given: list = [{"role": "user", "content": "1 + 2?"}]
    first = client.create(model="toy", input=given, tools=[FUNCTION], store=is_stored)
    [call] = [item for item in first.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "3"}

    if is_stored:
        second = client.create(model="toy", input=[result], previous_response_id=first.id, tools=[FUNCTION])
    else:
        second = client.create(model="toy", input=[*given, *first.output, result], tools=[FUNCTION], store=False)

    assert second.output_text == "It is 3."
    assert "assistant: <think>Add.</think>I add.[add 1]tool: 3" in text_of(engine)


@pytest.mark.parametrize("asked", ["messages", "responses"])
def test_an_answer_may_have_the_form_of_a_json_schema(serve, asked):
    engine, url = serve("{}")

    if asked == "messages":
        claude(url).messages.create(model="toy", max_tokens=9, messages=HI,
                                    output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    else:
        responses(url).create(model="toy", input="Hi", text={"format": {
            "type": "json_schema", "name": "numbers", "schema": SCHEMA, "strict": True}})

    assert engine.params.structured_outputs.json == SCHEMA


def test_a_budget_of_thinking_is_its_longest(serve):
    engine, url = serve("<think>Add.</think>3")

    claude(url).messages.create(model="toy", max_tokens=2000, messages=HI,
                                thinking={"type": "enabled", "budget_tokens": 1024})

    assert engine.params.reasoning_budget.max_tokens == 1024


def test_a_model_that_does_not_think_takes_a_budget(start_server):
    engine = FakeEngine(["3"])

    answer = claude(start_server(engine)).messages.create(
        model="toy", max_tokens=2000, messages=HI, thinking={"type": "enabled", "budget_tokens": 1024})

    assert (answer.content[0].text, engine.params.reasoning_budget) == ("3", None)

"""Tool calls and reasoning in chats, as the official client sees them."""

from __future__ import annotations

import json

import httpx
import openai
import pytest
from fake_engine import CALL, FakeEngine

HI = [{"role": "user", "content": "1 + 2?"}]
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}}}
TEMPLATE = ("{% if tools %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}Write <tool_call>…</tool_call>.\n"
            "{% endif %}{% for m in messages %}{{ m.role }}: {% if m.reasoning_content %}<think>"
            "{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}{% for call in m.tool_calls or [] %}"
            "[{{ call.function.name }} {{ call.function.arguments.a }}]{% endfor %}\n{% endfor %}assistant: "
            "{% if enable_thinking is false %}<think></think>{% endif %}")
TWO = f"<think>Add twice.</think>\n\nI add.\n{CALL}\n{CALL}"


def engine_saying(*replies: str, template: str = TEMPLATE) -> FakeEngine:
    return FakeEngine(list(replies), chat_template=template)


@pytest.fixture
def ask(start_server):
    """ask(reply, **fields) -> the client's answer; with stream=True the list of chunks."""
    def run(reply: str, *, server: dict | None = None, **fields):
        client = openai.OpenAI(base_url=start_server(engine_saying(reply), **(server or {})) + "/v1", api_key="unused",
                               max_retries=0)
        answer = client.chat.completions.create(**{"model": "toy", "messages": HI, "tools": [ADD]} | fields)
        return list(answer) if fields.get("stream") else answer

    return run


def test_a_message_has_content_calls_and_reasoning(ask):
    choice = ask(TWO).choices[0]

    assert (choice.message.content, choice.finish_reason) == ("I add.", "tool_calls")
    assert choice.message.reasoning == choice.message.reasoning_content == "Add twice."
    calls = choice.message.tool_calls
    assert [(call.type, call.function.name, call.function.arguments) for call in calls] == [
        ("function", "add", '{"a": 1, "b": 2}')] * 2
    assert len({call.id for call in calls}) == 2


def test_a_stream_says_what_the_whole_answer_says(ask):
    chunks = ask(TWO, stream=True)

    deltas = [chunk.choices[0].delta for chunk in chunks]
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert "".join(delta.content or "" for delta in deltas) == "I add."
    assert "".join(getattr(delta, "reasoning", None) or "" for delta in deltas) == "Add twice."
    assert [(call.index, call.type, call.function.name, call.function.arguments) for call in calls if call.id] == [
        (0, "function", "add", ""), (1, "function", "add", "")]
    for index in (0, 1):
        assert "".join(call.function.arguments for call in calls if call.index == index) == '{"a": 1, "b": 2}'
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["tool_calls"]


def test_arguments_are_streamed_while_they_are_written(ask):
    pieces = [call.function.arguments for chunk in ask(CALL, stream=True)
              for call in chunk.choices[0].delta.tool_calls or []]

    assert len([piece for piece in pieces if piece]) > 8


def test_the_template_gets_the_tools_and_the_earlier_calls_as_objects(start_server):
    engine = engine_saying("3")
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}

    httpx.post(start_server(engine) + "/v1/chat/completions", json={"tools": [ADD], "messages": [
        *HI, {"role": "assistant", "content": None, "reasoning": "Hm.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "3"}]}).raise_for_status()

    prompt = engine.tokenizer.decode(engine.prompts[0])
    assert json.loads(prompt.splitlines()[0]) == ADD
    assert "assistant: <think>Hm.</think>[add 1]tool: 3assistant: " in prompt


def test_an_agent_calls_a_tool_and_answers_with_its_result(start_server):
    client = openai.OpenAI(base_url=start_server(engine_saying(CALL, "It is 3.")) + "/v1", api_key="unused")
    messages = list(HI)
    while (message := client.chat.completions.create(model="toy", messages=messages, tools=[ADD]).choices[0].message
           ).tool_calls:
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            given = json.loads(call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": str(given["a"] + given["b"])})

    assert message.content == "It is 3."
    assert [m["role"] for m in messages] == ["user", "assistant", "tool"]


def test_an_answer_without_calls_ends_with_stop(ask):
    choice = ask("It is 3.").choices[0]

    assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == ("It is 3.", None, "stop")


def test_a_call_that_is_cut_short_ends_with_length(ask):
    choice = ask(CALL, max_tokens=45).choices[0]

    assert choice.finish_reason == "length"
    assert choice.message.tool_calls[0].function.arguments == '{"a"'


def test_without_parallel_calls_only_the_first_is_given(ask):
    whole = ask(TWO, parallel_tool_calls=False).choices[0].message
    chunks = ask(TWO, parallel_tool_calls=False, stream=True)

    assert len(whole.tool_calls) == 1
    assert {call.index for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []} == {0}


def test_with_tool_choice_none_a_call_is_text(ask):
    choice = ask(CALL, tool_choice="none").choices[0]

    assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == (CALL, None, "stop")


@pytest.mark.parametrize(("server", "shown"), [({}, True), ({"exclude_tools_when_tool_choice_none": True}, False)])
def test_with_tool_choice_none_the_template_gets_the_tools_unless_the_server_says_otherwise(
        start_server, server, shown):
    engine = engine_saying("3")

    httpx.post(start_server(engine, **server) + "/v1/chat/completions", json={
        "messages": HI, "tools": [ADD], "tool_choice": "none"}).raise_for_status()

    assert ("Adds." in engine.tokenizer.decode(engine.prompts[0])) == shown


@pytest.mark.parametrize(("fields", "param"), [
    ({"tools": []}, "tools"),
    ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name"),
    ({"tools": [{"type": "function"}]}, "tools.0.function"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 1}}]}, "tools.0.function.parameters"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "add"}}}, "tool_choice"),
    ({"tools": [ADD], "tool_choice": "always"}, "tool_choice"),
    ({"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "sub"}}}, "tool_choice.function.name"),
])
def test_a_wrong_field_is_named(start_server, fields, param):
    answer = httpx.post(start_server(engine_saying("x")) + "/v1/chat/completions", json={"messages": HI} | fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_tools_without_a_known_format_name_the_option(start_server):
    engine = engine_saying("x", template="{{ tools }}{{ messages[0].content }}")

    answer = httpx.post(start_server(engine) + "/v1/chat/completions", json={"messages": HI, "tools": [ADD]})

    assert answer.status_code == 400
    assert "--tool-call-parser" in answer.json()["error"]["message"]


def test_the_format_is_chosen_by_name(ask):
    choice = ask('[TOOL_CALLS]add[ARGS]{"a": 1}', server={"tool_call_parser": "mistral"}).choices[0]

    assert choice.message.tool_calls[0].function.arguments == '{"a": 1}'


def test_reasoning_is_left_out_where_the_client_wants_none(ask):
    whole = ask(TWO, extra_body={"include_reasoning": False}).choices[0].message
    chunks = ask(TWO, extra_body={"include_reasoning": False}, stream=True)

    assert (whole.content, hasattr(whole, "reasoning")) == ("I add.", False)
    assert not any(getattr(chunk.choices[0].delta, "reasoning", None) for chunk in chunks)


def test_usage_tells_the_tokens_of_the_reasoning(ask):
    whole = ask("<think>é 12</think>\n\n3").usage
    stream = ask("<think>é 12</think>\n\n3", stream=True, stream_options={"include_usage": True})[-1].usage

    expected = len("<think>é 12</think>".encode())                  # tokens are bytes
    assert whole.completion_tokens_details.reasoning_tokens == expected
    assert stream.completion_tokens_details.reasoning_tokens == expected


def test_an_effort_of_none_switches_the_reasoning_off(start_server):
    engine = engine_saying("<think>not this</think>3")
    url = start_server(engine)

    httpx.post(url + "/v1/chat/completions", json={"messages": HI, "reasoning_effort": "none"}).raise_for_status()

    assert engine.tokenizer.decode(engine.prompts[0]).endswith("assistant: <think></think>")


def test_a_continued_message_goes_on_with_its_reasoning(start_server):
    url = start_server(engine_saying("two.</think>Three.", template=(
        "{% for m in messages %}{{ m.content }}{% endfor %}{# <think> </think> #}")))

    message = httpx.post(url + "/v1/chat/completions", json={
        "messages": [*HI, {"role": "assistant", "content": "<think>One and "}],
        "continue_final_message": True, "add_generation_prompt": False}).json()["choices"][0]["message"]

    assert (message["reasoning"], message["content"]) == ("two.", "Three.")


def test_the_logprobs_of_all_tokens_are_streamed_also_of_those_without_text(ask):
    options = {"logprobs": True, "top_logprobs": 1}
    whole = ask(TWO, **options).choices[0].logprobs.content

    streamed = [entry for chunk in ask(TWO, **options, stream=True) if chunk.choices[0].logprobs
                for entry in chunk.choices[0].logprobs.content]

    assert streamed == whole


def test_each_of_several_answers_is_parsed_for_itself(ask):
    choices = ask(TWO, n=2, temperature=1.0).choices
    chunks = ask(TWO, n=2, temperature=1.0, stream=True)

    assert [len(choice.message.tool_calls) for choice in choices] == [2, 2]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["tool_calls"] * 2


@pytest.mark.parametrize(("template", "is_open", "expected"), [
    ("{{ messages[0].content }}{# </think> #}", False, True),
    ("{{ messages[0].content }}</think><think>\n", True, True),
    ("{{ messages[0].content }}<think>\n</think>", None, False)])
def test_a_thinking_budget_becomes_the_tokens_of_the_marks(start_server, template, is_open, expected):
    engine = engine_saying("<think>Hm.</think>3", template=template)

    httpx.post(start_server(engine) + "/v1/chat/completions", json={
        "messages": HI, "thinking_token_budget": 5}).raise_for_status()

    budget = engine.params.reasoning_budget
    assert (budget is not None) == expected
    if budget is not None:
        assert (budget.max_tokens, budget.end_token_ids, budget.is_open) == (5, list(b"</think>"), is_open)


def test_a_thinking_budget_goes_with_a_form_behind_the_reasoning(start_server):
    engine = engine_saying("<think>Hm.</think>3", template="{{ messages[0].content }}</think><think>\n")

    httpx.post(start_server(engine) + "/v1/chat/completions", json={
        "messages": HI, "thinking_token_budget": 5, "response_format": {"type": "json_object"}}).raise_for_status()

    assert engine.params.reasoning_budget.max_tokens == 5
    assert engine.params.structured_outputs.reasoning.is_open


@pytest.mark.parametrize(("fields", "template"), [
    ({"thinking_token_budget": 5}, "{{ messages[0].content }}"), ({"thinking_token_budget": -2}, TEMPLATE)])
def test_a_thinking_budget_that_cannot_be_kept_is_refused(start_server, fields, template):
    answer = httpx.post(start_server(engine_saying("x", template=template)) + "/v1/chat/completions", json={
        "messages": HI} | fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "thinking_token_budget")

"""POST /v1/messages as Anthropic's official client sees it."""

from __future__ import annotations

import json

import anthropic
import httpx
import pytest
from fake_engine import FakeEngine, chatml, text_of

from weft.errors import EngineDeadError

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def client(url):
    return anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0)


def test_a_message_is_answered_with_blocks(client, engine):
    message = client.messages.create(model="toy", max_tokens=50, system="Be kind.", messages=HI)

    assert text_of(engine) == chatml(("system", "Be kind."), ("user", "Hi"))
    assert message.id.startswith("msg_") and message._request_id == message.id
    assert (message.type, message.role, message.model) == ("message", "assistant", "toy")
    assert [(block.type, block.text) for block in message.content] == [("text", "Hé you")]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (len(engine.prompts[0]), 8)
    assert message.usage.cache_read_input_tokens == 0


def test_a_stream_has_every_kind_of_event_in_order(client):
    with client.messages.stream(model="toy", max_tokens=50, messages=HI) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()

    own = [kind for kind in kinds if kind != "text"]        # the client's own addition
    assert own == ["message_start", "content_block_start", *["content_block_delta"] * 6, "content_block_stop",
                   "message_delta", "message_stop"]
    assert message.content[0].text == "Hé you"
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 8)


def test_the_bytes_of_a_stream_name_each_event(url):
    answer = httpx.post(f"{url}/v1/messages", json={"messages": HI, "max_tokens": 1, "stream": True})

    events = [event.split("\n") for event in answer.text.strip().split("\n\n")]
    assert answer.headers["content-type"].startswith("text/event-stream")
    for name, data in events:
        assert name == "event: " + json.loads(data.removeprefix("data: "))["type"]
    assert [name for name, _ in events] == [f"event: {kind}" for kind in (
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop")]


@pytest.mark.parametrize("fields, reason, sequence", [
    ({"max_tokens": 3}, "max_tokens", None), ({"max_tokens": 600}, "model_context_window_exceeded", None),
    ({"max_tokens": 50, "stop_sequences": ["yy", "xx"]}, "stop_sequence", "xx")])
def test_why_a_message_ended_is_said_in_anthropics_words(start_server, fields, reason, sequence):
    client = anthropic.Anthropic(base_url=start_server(FakeEngine("abc" + "x" * 700)), api_key="unused")

    whole = client.messages.create(model="toy", messages=HI, **fields)
    with client.messages.stream(model="toy", messages=HI, **fields) as stream:
        streamed = stream.get_final_message()

    for message in (whole, streamed):
        assert (message.stop_reason, message.stop_sequence) == (reason, sequence)
    assert whole.content[0].text == streamed.content[0].text


def test_content_blocks_and_neighbours_of_one_role_become_one_message_each(client, engine):
    client.messages.create(
        model="toy", max_tokens=1, system=[{"type": "text", "text": "A"}, {"type": "text", "text": "B"}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
                  {"role": "user", "content": "three"}])

    assert text_of(engine) == chatml(("system", "A\nB"), ("user", "one\ntwo\nthree"))


def test_a_begun_answer_is_continued(client, engine):
    client.messages.create(model="toy", max_tokens=1, messages=[*HI, {"role": "assistant", "content": "Well"}])

    assert text_of(engine) == chatml(("user", "Hi"), end="<|im_start|>assistant\nWell")


def test_calls_results_and_thinking_go_back_to_the_model(start_server):
    engine = FakeEngine()
    seen = []
    engine.renderer.render = lambda messages, **options: seen.append((messages, options)) or "x"
    client = anthropic.Anthropic(base_url=start_server(engine), api_key="unused")

    client.messages.create(model="toy", max_tokens=1, messages=[
        *HI, {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [
            {"type": "text", "text": "2"}]}, {"type": "text", "text": "Go on."}]}],
        tools=[{"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}],
        tool_choice={"type": "none"})

    [(messages, options)] = seen
    assert messages[1:] == [
        {"role": "assistant", "content": "Let me see.", "reasoning": "Hm.", "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "2"}, {"role": "user", "content": "Go on."}]
    assert options["tools"] == [{"type": "function", "function": {
        "name": "add", "description": "Adds.", "parameters": {"type": "object"}}}]


def test_tokens_are_counted_without_an_answer(client, engine):
    count = client.messages.count_tokens(model="toy", system="Be kind.", messages=HI)

    assert engine.prompts == []
    client.messages.create(model="toy", max_tokens=1, system="Be kind.", messages=HI)
    assert count.input_tokens == len(engine.prompts[0])


def test_sampling_fields_reach_the_engine(client, engine):
    client.messages.create(model="toy", max_tokens=5, messages=HI,
                           extra_body={"temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "seed": 4})

    params = engine.params
    assert (params.temperature, params.top_p, params.top_k, params.min_p, params.seed) == (0.5, 0.9, 3, 0.1, 4)
    assert params.max_tokens == 5


WRONG = [
    ({"max_tokens": None}, "max_tokens is missing"), ({"max_tokens": 0}, "max_tokens = 0"),
    ({"messages": []}, "messages = []"), ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages.0.content.0"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text is missing"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "tool_use_id is missing"),
    ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b"}]}]}, "input = None"),
    ({"tools": [{"name": "a"}]}, "tools.0.input_schema"),
    ({"tools": [{"input_schema": {}}]}, "tools.0.name is missing"),
    ({"tool_choice": {"type": "some"}}, "tool_choice.type"), ({"thinking": {"type": "some"}}, "thinking.type"),
    ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "adaptive", "display": "loud"}}, "thinking.display"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
    ({"stop_sequences": ["a"] * 5}, "stop_sequences"), ({"temperature": 3}, "temperature = 3"),
    ({"system": 5}, "system = 5: expected a string or a list"), ({"stream": "yes"}, "stream = 'yes'"),
]


@pytest.mark.parametrize("fields, said", WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_field_is_named_in_anthropics_shape(shared_url, fields, said):
    answer = httpx.post(f"{shared_url}/v1/messages", json={"messages": HI, "max_tokens": 3} | fields)

    assert answer.status_code == 400
    assert answer.json()["type"] == "error" and answer.json()["error"]["type"] == "invalid_request_error"
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("fields", [
    {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {"mcp_servers": [{"url": "x"}]},
    {"container": "c"}])
def test_what_weft_has_no_code_for_is_a_501(shared_url, fields):
    answer = httpx.post(f"{shared_url}/v1/messages", json={"messages": HI, "max_tokens": 3} | fields)

    assert (answer.status_code, answer.json()["error"]["type"]) == (501, "api_error")


def test_fields_without_effect_are_taken(url):
    answer = httpx.post(f"{url}/v1/messages", json={"messages": HI, "max_tokens": 3, "metadata": {"user_id": "me"},
                                                    "service_tier": "auto", "cache_control": {"type": "ephemeral"}})

    assert answer.status_code == 200 and "x-weft-ignored-fields" not in answer.headers


def test_every_error_has_anthropics_shape(start_server):
    url = start_server(FakeEngine(), api_key=("k",))
    client = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
    for key, error in (("wrong", anthropic.AuthenticationError), ("k", anthropic.NotFoundError)):
        with pytest.raises(error) as caught:
            anthropic.Anthropic(base_url=url, api_key=key, max_retries=0).messages.create(
                model="claude", max_tokens=1, messages=HI)
        assert caught.value.body["type"] == "error"

    assert client.messages.create(model="toy", max_tokens=1, messages=HI).content[0].text == "H"
    wrong_method = httpx.get(f"{url}/v1/messages", headers={"X-API-Key": "k"})
    assert (wrong_method.status_code, wrong_method.json()["type"]) == (405, "error")
    batches = httpx.get(f"{url}/v1/messages/batches", headers={"X-API-Key": "k"})
    assert (batches.status_code, batches.json()["error"]["type"]) == (501, "api_error")


def test_an_error_inside_a_stream_is_an_event(start_server):
    url = start_server(FakeEngine("Hello", fail_at=2, error=EngineDeadError("It ended.")))

    answer = httpx.post(f"{url}/v1/messages", json={"messages": HI, "max_tokens": 9, "stream": True})

    assert answer.status_code == 200
    name, data = answer.text.strip().split("\n\n")[-1].split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: ")) == {"type": "error", "error": {
        "type": "overloaded_error", "message": "It ended."}}


def test_models_are_listed_in_anthropics_shape_for_its_clients(client):
    models = client.models.list()

    assert [(model.type, model.id, model.display_name) for model in models.data] == [
        ("model", "toy", "toy"), ("model", "toy-alias", "toy-alias")]
    assert models.has_more is False and client.models.retrieve("toy").created_at.year >= 2024

"""POST /v1/responses and the routes of stored responses as OpenAI's official client sees them."""

from __future__ import annotations

import json

import httpx
import openai
import pytest
from fake_engine import FakeEngine, chatml, text_of
from waiting import until

from weft.errors import EngineDeadError
from weft.server.openai.responses.event_log import EventLog
from weft.server.openai.responses.store import ResponseStore, Stored


@pytest.fixture
def client(url):
    return openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0)


def until_ended(client, response):
    def ended():
        found = client.responses.retrieve(response.id)
        return None if found.status in ("queued", "in_progress") else found

    return until(ended)


def test_text_is_answered(client, engine):
    response = client.responses.create(model="toy", instructions="Be kind.", input="Hi", metadata={"a": "b"})

    assert text_of(engine) == chatml(("system", "Be kind."), ("user", "Hi"))
    assert response.id.startswith("resp_") and response.object == "response"
    assert (response.status, response.error, response.incomplete_details) == ("completed", None, None)
    assert response.output_text == "Hé you"
    [item] = response.output
    assert (item.type, item.role, item.status, item.content[0].annotations) == ("message", "assistant", "completed", [])
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (
        len(engine.prompts[0]), 8, len(engine.prompts[0]) + 8)
    assert (response.instructions, response.metadata, response.text.format.type) == ("Be kind.", {"a": "b"}, "text")


def test_an_answer_that_is_cut_short_is_incomplete(client):
    response = client.responses.create(model="toy", input="Hi", max_output_tokens=2)

    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete"


def test_a_stream_has_every_kind_of_event_in_order_and_numbered(client):
    with client.responses.stream(model="toy", input="Hi") as stream:
        events = list(stream)
        final = stream.get_final_response()

    assert [event.type for event in events] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        *["response.output_text.delta"] * 6, "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Hé you"
    assert (events[0].response.status, events[-1].response.status) == ("in_progress", "completed")
    assert final.output_text == "Hé you" and final.usage.output_tokens == 8


def test_the_bytes_of_a_stream_name_each_event(url):
    answer = httpx.post(f"{url}/v1/responses", json={"input": "Hi", "stream": True, "max_output_tokens": 1})

    assert answer.headers["content-type"].startswith("text/event-stream")
    for event in answer.text.strip().split("\n\n"):
        name, data = event.split("\n")
        assert name == "event: " + json.loads(data.removeprefix("data: "))["type"]
    assert name == "event: response.incomplete"


def test_a_response_goes_on_from_a_stored_one(client, engine):
    first = client.responses.create(model="toy", instructions="Be kind.", input="Hi")
    second = client.responses.create(model="toy", input="More", previous_response_id=first.id)
    client.responses.create(model="toy", input="Again", previous_response_id=second.id, instructions="Be brief.")

    assert text_of(engine) == chatml(("system", "Be brief."), ("user", "Hi"), ("assistant", "Hé you"), ("user", "More"),
                                     ("assistant", "Hé you"), ("user", "Again"))
    assert second.previous_response_id == first.id


def test_a_streamed_response_is_stored_too(client, engine):
    with client.responses.stream(model="toy", input="Hi") as stream:
        first = stream.get_final_response()

    assert client.responses.retrieve(first.id).output_text == "Hé you"


def test_a_response_can_be_read_its_input_too_and_deleted(client):
    made = client.responses.create(model="toy", input=[{"role": "user", "content": "one"},
                                                       {"role": "user", "content": "two"}])

    assert client.responses.retrieve(made.id) == made
    items = client.responses.input_items.list(made.id, order="asc").data
    assert [(item.type, item.content) for item in items] == [("message", "one"), ("message", "two")]
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_response_that_is_not_to_be_stored_is_not(client, start_server, engine):
    made = client.responses.create(model="toy", input="Hi", store=False)
    small = openai.OpenAI(base_url=start_server(engine, responses_store_bytes=0) + "/v1", api_key="x", max_retries=0)
    other = small.responses.create(model="toy", input="Hi")

    for asked, response in ((client, made), (small, other)):
        with pytest.raises(openai.NotFoundError):
            asked.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="toy", input="Hi", previous_response_id=made.id)
    assert caught.value.param == "previous_response_id"


def test_the_oldest_responses_are_forgotten_when_the_store_is_full(start_server, engine):
    url = start_server(engine, responses_store_bytes=4000)
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0)

    ids = [client.responses.create(model="toy", input="Hi").id for _ in range(5)]

    def is_there(response_id: str) -> bool:
        return httpx.get(f"{url}/v1/responses/{response_id}").status_code == 200

    found = [is_there(response_id) for response_id in ids]
    assert found == sorted(found) and found[-1] and not found[0]
    [line] = [line for line in httpx.get(f"{url}/metrics").text.splitlines()
              if line.startswith("weft:responses_store_bytes ")]
    assert 0 < float(line.split()[-1]) <= 4000


def test_a_response_is_made_in_the_background(client):
    queued = client.responses.create(model="toy", input="Hi", background=True)

    assert (queued.status, queued.output) == ("queued", [])
    ended = until_ended(client, queued)
    assert (ended.status, ended.output_text, ended.background) == ("completed", "Hé you", True)


def test_a_response_in_the_background_can_be_cancelled(start_server):
    engine = FakeEngine("x" * 500, step_seconds=0.01)
    client = openai.OpenAI(base_url=start_server(engine) + "/v1", api_key="x", max_retries=0)
    running = client.responses.create(model="toy", input="Hi", background=True)
    until(lambda: engine.started)

    cancelled = client.responses.cancel(running.id)

    assert cancelled.status == client.responses.retrieve(running.id).status == "cancelled"
    assert engine.aborted == engine.started
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="toy", input="Hi", previous_response_id=running.id)


def test_a_stream_in_the_background_can_be_left_and_read_again(start_server):
    engine = FakeEngine("Hello", step_seconds=0.01)
    client = openai.OpenAI(base_url=start_server(engine) + "/v1", api_key="x", max_retries=0)
    with client.responses.create(model="toy", input="Hi", background=True, stream=True) as stream:
        first = next(iter(stream))

    events = list(client.responses.retrieve(first.response.id, stream=True))
    later = list(client.responses.retrieve(first.response.id, stream=True, starting_after=events[4].sequence_number))

    assert engine.aborted == []
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Hello"
    assert [event.sequence_number for event in later] == list(range(5, len(events)))
    assert client.responses.retrieve(first.response.id).output_text == "Hello"


def test_the_events_of_a_response_that_failed_in_the_background_end_with_that(start_server):
    url = start_server(FakeEngine(refuse=EngineDeadError("It ended.")))

    answer = httpx.post(f"{url}/v1/responses", json={"input": "Hi", "background": True, "stream": True})

    [event] = answer.text.strip().split("\n\n")
    assert json.loads(event.split("\ndata: ")[1])["response"]["error"]["message"] == "It ended."


def test_the_events_of_running_responses_count_for_the_stores_bytes():
    def running(name: str) -> Stored:
        return Stored({"id": name}, [], [], log=EventLog())

    store, old, new = ResponseStore(100), running("old"), running("new")
    store.put(old)
    store.put(new)
    new.log.add(b"x" * 30)
    assert store.num_bytes == old.size() + new.size() <= 100

    new.log.add(b"x" * 40)      # there is no room for both
    assert store.num_bytes == new.size()
    old.log.add(b"x" * 1000)    # a forgotten one counts no more
    assert store.num_bytes == new.size()
    new.log.add(b"x" * 100)     # larger than the store
    assert store.num_bytes == 0


def test_only_a_response_that_was_streamed_in_the_background_has_events(client, url):
    made = client.responses.create(model="toy", input="Hi")

    assert httpx.get(f"{url}/v1/responses/{made.id}?stream=true").json()["error"]["param"] == "stream"


def test_a_response_in_the_background_that_fails_says_so(start_server):
    engine = FakeEngine("Hello", fail_at=2, error=EngineDeadError("It ended."))
    client = openai.OpenAI(base_url=start_server(engine) + "/v1", api_key="x", max_retries=0)

    ended = until_ended(client, client.responses.create(model="toy", input="Hi", background=True))

    assert (ended.status, ended.error.code, ended.error.message) == ("failed", "server_error", "It ended.")


def test_only_a_response_in_the_background_can_be_cancelled(client):
    made = client.responses.create(model="toy", input="Hi")

    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(made.id)


def test_items_of_a_conversation_become_messages(start_server):
    engine = FakeEngine()
    seen = []
    engine.renderer.render = lambda messages, **options: seen.append((messages, options)) or "x"
    client = openai.OpenAI(base_url=start_server(engine) + "/v1", api_key="x", max_retries=0)

    client.responses.create(model="toy", instructions="Be kind.", input=[
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Add."}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "3"}]}],
        tools=[{"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False}],
        tool_choice="none")

    [(messages, options)] = seen
    calls = [{"id": name, "type": "function", "function": {"name": "add", "arguments": text}}
             for name, text in (("c1", '{"a": 1}'), ("c2", "{}"))]
    assert messages == [
        {"role": "system", "content": "Be kind.\n\nBe brief."}, {"role": "user", "content": "Add."},
        {"role": "assistant", "reasoning": "Hm.", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "2"}, {"role": "tool", "tool_call_id": "c2", "content": "3"}]
    assert options["tools"][0]["function"]["name"] == "add"


def test_log_probabilities_come_with_the_text(client):
    response = client.responses.create(model="toy", input="Hi", max_output_tokens=2, top_logprobs=1,
                                       include=["message.output_text.logprobs"])
    streamed = list(client.responses.create(model="toy", input="Hi", max_output_tokens=2, top_logprobs=1,
                                            stream=True))[-1].response

    found = response.output[0].content[0].logprobs
    assert (found[0].token, found[0].top_logprobs[0].token) == ("H", "a")
    assert len(found) == 2 and [entry.logprob for entry in streamed.output[0].content[0].logprobs] == [
        entry.logprob for entry in found]


def test_given_tokens_have_their_log_probabilities_beside_the_sampled_one(url):
    body = {"input": "Hi", "max_output_tokens": 1, "include": ["message.output_text.logprobs"],
            "logprob_token_ids": [97, 98, 122]}

    item = httpx.post(url + "/v1/responses", json=body).raise_for_status().json()["output"][0]

    [found] = item["content"][0]["logprobs"]
    assert {entry["token"] for entry in found["top_logprobs"]} == {"H", "a", "z"}      # the engine has no b


def test_a_wrong_field_of_an_input_that_is_counted_has_its_own_name(url):
    error = httpx.post(url + "/v1/responses/input_tokens", json={"input": [{"role": "nobody", "content": "Hi"}]})

    assert error.status_code == 400 and error.json()["error"]["param"].startswith("input")


def test_tokens_of_an_input_are_counted(client, engine):
    count = client.responses.input_tokens.count(model="toy", input="Hi", instructions="Be kind.")

    client.responses.create(model="toy", input="Hi", instructions="Be kind.")
    assert count.input_tokens == len(engine.prompts[0])


WRONG = [
    ({"input": None}, 400, "input"), ({"input": []}, 400, "input"), ({"input": 5}, 400, "input"),
    ({"input": [{"role": "cook", "content": "a"}]}, 400, "input.0.role"),
    ({"input": [{"role": "user", "content": [{"text": "a"}]}]}, 400, "input.0.content.0"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, 400, "input.0.content.0.text"),
    ({"input": [{"type": "function_call", "name": "a", "arguments": "{}"}]}, 400, "input.0.call_id"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, 400,
     "input.0.content.0.image_url"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, 501,
     "input.0.content.0.type"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, 501, "input.0.type"),
    ({"tools": [{"type": "web_search"}]}, 501, "tools.0.type"), ({"tools": [{}]}, 400, "tools.0.type"),
    ({"tool_choice": {"type": "x"}}, 400, "tool_choice"),
    ({"text": {"format": {"type": "xml"}}}, 400, "text.format"), ({"include": ["x"]}, 400, "include.0"),
    ({"truncation": "auto"}, 501, "truncation"), ({"conversation": "c"}, 501, "conversation"),
    ({"background": True, "store": False}, 400, "background"),
    ({"previous_response_id": "resp_x"}, 404, "previous_response_id"), ({"temperature": 3}, 400, "temperature"),
    ({"max_output_tokens": 0}, 400, "max_output_tokens"), ({"metadata": {"a": 1}}, 400, "metadata.a"),
]


@pytest.mark.parametrize("fields, status, param", WRONG, ids=[f"{p}-{i}" for i, (_, _, p) in enumerate(WRONG)])
def test_a_wrong_field_is_named(shared_url, fields, status, param):
    answer = httpx.post(f"{shared_url}/v1/responses", json={"input": "Hi"} | fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_an_error_inside_a_stream_is_an_event_and_a_failed_response(start_server):
    url = start_server(FakeEngine("Hello", fail_at=2, error=EngineDeadError("It ended.")))

    answer = httpx.post(f"{url}/v1/responses", json={"input": "Hi", "stream": True})

    error, failed = [json.loads(event.split("\ndata: ")[1]) for event in answer.text.strip().split("\n\n")[-2:]]
    assert (error["type"], error["message"]) == ("error", "It ended.")
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["sequence_number"] == error["sequence_number"] + 1

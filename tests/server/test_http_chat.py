"""POST /v1/chat/completions as the official client sees it."""

from __future__ import annotations

import httpx
import openai
import pytest
from fake_engine import FakeEngine, text_of

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def engine():
    return FakeEngine("Hé you")


@pytest.fixture
def client(engine, start_server):
    return openai.OpenAI(base_url=start_server(engine) + "/v1", api_key="unused", max_retries=0)


def test_messages_go_through_the_chat_template(client, engine):
    answer = client.chat.completions.create(model="toy", messages=[{"role": "system", "content": "Be kind."}, *HI])

    assert text_of(engine) == ("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                               "<|im_start|>assistant\n")
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    message = answer.choices[0].message
    assert (message.role, message.content, message.refusal, message.tool_calls) == ("assistant", "Hé you", None, None)
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(engine.prompts[0]), 8)


def test_content_may_be_a_list_of_texts(client, engine):
    client.chat.completions.create(model="toy", messages=[{"role": "user", "content": [
        {"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}])

    assert "user\none\ntwo<|im_end|>" in text_of(engine)


def test_unset_max_tokens_fills_the_context(start_server):
    engine = FakeEngine("x" * 600)
    client = openai.OpenAI(base_url=start_server(engine) + "/v1", api_key="unused")

    answer = client.chat.completions.create(model="toy", messages=HI)

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.total_tokens == 512


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_limit_work(client, name):
    answer = client.chat.completions.create(model="toy", messages=HI, **{name: 2})

    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 2)


def test_a_stream_is_role_then_content_then_reason(client):
    chunks = list(client.chat.completions.create(model="toy", messages=HI, stream=True))

    assert (chunks[0].choices[0].delta.role, chunks[0].choices[0].delta.content) == ("assistant", "")
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-1]] == ["H", "é", " ", "y", "o", "u"]
    assert (chunks[-1].choices[0].delta.content, chunks[-1].choices[0].finish_reason) == (None, "stop")
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


def test_the_bytes_of_a_stream_are_events_that_end_with_done(engine, start_server):
    url = start_server(engine)

    answer = httpx.post(f"{url}/v1/chat/completions", json={
        "messages": HI, "stream": True, "max_tokens": 1, "stream_options": {"include_usage": True}})

    events = answer.text.split("\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert all(event.startswith("data: {") for event in events[:-2])
    assert events[-2:] == ["data: [DONE]", ""]
    assert '"choices":[]' in events[-3]


def test_the_usage_chunk_is_last_and_has_no_choices(client):
    chunks = list(client.chat.completions.create(model="toy", messages=HI, stream=True,
                                                 stream_options={"include_usage": True}))

    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 8
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 0


def test_a_server_can_always_tell_usage(engine, start_server):
    client = openai.OpenAI(base_url=start_server(engine, enable_force_include_usage=True) + "/v1", api_key="unused")

    chunks = list(client.chat.completions.create(model="toy", messages=HI, stream=True))

    assert chunks[-1].usage.completion_tokens == 8


def test_n_answers_are_streamed_side_by_side(client):
    chunks = list(client.chat.completions.create(model="toy", messages=HI, n=2, temperature=1.0, stream=True))

    roles = [chunk.choices[0].index for chunk in chunks if chunk.choices[0].delta.role]
    texts = {index: "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices[0].index == index)
             for index in (0, 1)}
    assert roles == [0, 1]
    assert texts == {0: "Hé you", 1: "Hé you"}


def test_logprobs_come_with_bytes_and_the_likeliest_first(client):
    answer = client.chat.completions.create(model="toy", messages=HI, logprobs=True, top_logprobs=2, max_tokens=2)

    second = answer.choices[0].logprobs.content[1]
    assert (second.bytes, second.logprob) == ([0xC3], -1.25)       # half of "é"
    assert [(top.token, top.logprob) for top in answer.choices[0].logprobs.content[0].top_logprobs] == [
        ("a", -0.5), ("H", -1.25)]


def test_logprobs_alone_tell_the_sampled_token(client):
    answer = client.chat.completions.create(model="toy", messages=HI, logprobs=True, max_tokens=1)

    entry = answer.choices[0].logprobs.content[0]
    assert (entry.token, entry.top_logprobs) == ("H", [])


def test_streamed_logprobs_are_those_of_the_whole_answer(client):
    options = {"model": "toy", "messages": HI, "logprobs": True, "top_logprobs": 1}
    whole = client.chat.completions.create(**options).choices[0].logprobs.content
    chunks = list(client.chat.completions.create(**options, stream=True))

    pieces = [entry for chunk in chunks if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content]
    assert pieces == whole
    assert len(pieces) == 8


def test_a_final_message_can_be_continued_and_echoed(client, engine):
    messages = [*HI, {"role": "assistant", "content": "Well"}]
    extra = {"continue_final_message": True, "add_generation_prompt": False, "echo": True}
    answer = client.chat.completions.create(model="toy", messages=messages, extra_body=extra)
    chunks = list(client.chat.completions.create(model="toy", messages=messages, extra_body=extra, stream=True))

    assert text_of(engine).endswith("<|im_start|>assistant\nWell")
    assert answer.choices[0].message.content == "WellHé you"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "WellHé you"


def test_a_request_brings_its_own_template_only_where_the_server_trusts_it(engine, start_server):
    body = {"messages": HI, "max_tokens": 1, "chat_template": "{{ messages[0].content }}!"}
    strict, trusting = start_server(engine), start_server(engine, trust_request_chat_template=True)

    refusal = httpx.post(f"{strict}/v1/chat/completions", json=body)
    answer = httpx.post(f"{trusting}/v1/chat/completions", json=body)

    assert (refusal.status_code, refusal.json()["error"]["param"]) == (400, "chat_template")
    assert answer.status_code == 200
    assert text_of(engine) == "Hi!"


def test_token_ids_come_back_when_asked_for(client, engine):
    answer = client.chat.completions.create(model="toy", messages=HI, max_tokens=2,
                                            extra_body={"return_token_ids": True})

    assert answer.prompt_token_ids == engine.prompts[0]
    assert answer.choices[0].token_ids == [0x48, 0xC3]


def test_a_reasoning_effort_is_no_error_where_the_template_does_not_read_it(client):
    answer = client.chat.completions.create(model="toy", messages=HI, reasoning_effort="low", max_tokens=1)

    assert answer.choices[0].message.content == "H"


def test_variables_for_the_template_are_passed_on(engine, start_server):
    url = start_server(engine, trust_request_chat_template=True)

    httpx.post(f"{url}/v1/chat/completions", json={
        "messages": HI, "max_tokens": 1, "chat_template": "{{ messages[0].content }} {{ mood }}",
        "chat_template_kwargs": {"mood": "gladly"}})

    assert text_of(engine) == "Hi gladly"

"""POST /v1/chat/completions/batch: one choice for each conversation."""

from __future__ import annotations

import httpx
import pytest
from fake_engine import FakeEngine

from weft.errors import EngineDeadError

TWO = [[{"role": "user", "content": "Hi"}], [{"role": "user", "content": "Ho!"}]]


def ask(url: str, **fields) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions/batch", json={"messages": TWO} | fields)


def test_each_conversation_gets_a_choice_and_usage_counts_all(start_server):
    engine = FakeEngine("Hello")

    answer = ask(start_server(engine), max_tokens=3, logprobs=True, return_token_ids=True).json()

    assert answer["object"] == "chat.completion" and answer["id"].startswith("chatcmpl-")
    assert [(choice["index"], choice["message"]["content"]) for choice in answer["choices"]] == [(0, "Hel"), (1, "Hel")]
    assert [choice["prompt_token_ids"] for choice in answer["choices"]] == engine.prompts
    assert len(answer["choices"][1]["logprobs"]["content"]) == 3
    assert answer["usage"]["prompt_tokens"] == sum(map(len, engine.prompts))
    assert answer["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize("fields, param", [
    ({"messages": []}, "messages"), ({"messages": [[]]}, "messages.0"), ({"messages": TWO[0]}, "messages.0"),
    ({"messages": [*TWO, [{"role": "user"}]]}, "messages.2.0.content"), ({"stream": True}, "stream"), ({"n": 2}, "n"),
    ({"tools": [{"type": "function", "function": {"name": "a"}}]}, "tools"),
    ({"use_beam_search": True}, "use_beam_search"), ({"temperature": 5}, "temperature")])
def test_what_a_batch_cannot_have_is_named(start_server, fields, param):
    answer = ask(start_server(FakeEngine()), **fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_one_failure_ends_all_conversations(start_server):
    engine = FakeEngine("x" * 100, step_seconds=0.001, fail_at=5, error=EngineDeadError("It ended."))

    answer = ask(start_server(engine))

    assert answer.status_code == 503
    assert len(engine.aborted) == 2

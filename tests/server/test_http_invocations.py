"""POST /invocations answers a body by its shape."""

from __future__ import annotations

import httpx
import pytest
from fake_engine import FakeEngine
from http_server import running_server
from waiting import until

from weft.server.options import ServerOptions


@pytest.fixture(scope="module")
def url():
    with running_server(FakeEngine("Hello"), ServerOptions(max_body_bytes=2000)) as url:
        yield url + "/invocations"


@pytest.mark.parametrize("body, kind", [
    ({"prompt": "a"}, "text_completion"), ({"messages": [{"role": "user", "content": "a"}]}, "chat.completion"),
    ({"input": "a"}, "response")])
def test_the_fields_of_a_body_choose_the_route(url, body, kind):
    assert httpx.post(url, json=body).json()["object"] == kind


def test_an_answer_can_be_streamed(url):
    assert httpx.post(url, json={"prompt": "a", "stream": True}).text.endswith("data: [DONE]\n\n")


def test_a_client_that_leaves_has_its_request_ended(start_server):
    engine = FakeEngine("x" * 400, step_seconds=0.01)
    with httpx.stream("POST", start_server(engine) + "/invocations", json={
            "prompt": "a", "stream": True, "max_tokens": 400}) as answer:
        next(answer.iter_bytes())

    until(lambda: engine.aborted)
    assert engine.aborted == engine.started


@pytest.mark.parametrize("body, status, said", [
    ({"text": "a"}, 400, "messages, prompt, prompt_embeds, input"), ({"prompt": 7}, 400, "prompt = 7"),
    ({"prompt": "a" * 3000}, 413, "2000 bytes"), ({"prompt": "a", "model": "x"}, 404, "'x'")])
def test_a_wrong_body_is_refused_as_elsewhere(url, body, status, said):
    answer = httpx.post(url, json=body)

    assert answer.status_code == status and said in answer.json()["error"]["message"]

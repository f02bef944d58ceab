"""GET /health over a toy engine in its child process: it says when nothing moves, and when all is well again."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from http_server import running_server
from toy_engine import SLOW_CORE, make_config, save_tokenizer

from weft.async_llm import AsyncLLM
from weft.engine.process.spare import Spare
from weft.errors import ConfigError
from weft.server.options import ServerOptions

WAIT_S = 30
LONG = {"prompt": "a", "max_tokens": 300, "ignore_eos": True, "seed": 1}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    tokenizer = save_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    engine = AsyncLLM(make_config(tokenizer, max_model_len=20_000), Spare(SLOW_CORE))
    yield engine
    engine.shutdown()


@pytest.fixture(scope="module")
def client(engine):
    with running_server(engine, ServerOptions(stall_timeout=2)) as url, \
            httpx.Client(base_url=url, timeout=60) as client:
        yield client


def health_once(client: httpx.Client, status: int) -> str:
    """The text of /health, when it answers with this status."""
    end = time.monotonic() + WAIT_S
    while (answer := client.get("/health")).status_code != status and time.monotonic() < end:
        time.sleep(0.05)
    assert answer.status_code == status
    return answer.text


def test_an_engine_that_stands_still_is_not_healthy_until_it_moves_again(engine, client):
    health_once(client, 200)
    os.kill(engine._client.pid, signal.SIGSTOP)

    idle = health_once(client, 503)
    with ThreadPoolExecutor(1) as thread:
        request = thread.submit(client.post, "/v1/completions", json=LONG)
        os.kill(engine._client.pid, signal.SIGCONT)

        assert "no sign of life" in idle
        health_once(client, 200)
        assert request.result(WAIT_S).json()["usage"]["completion_tokens"] == LONG["max_tokens"]


def test_a_request_without_a_token_makes_the_server_unhealthy(engine, client):
    with client.stream("POST", "/v1/completions", json=LONG | {"stream": True, "max_tokens": 600}) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        os.kill(engine._client.pid, signal.SIGSTOP)

        said = health_once(client, 503)

        os.kill(engine._client.pid, signal.SIGCONT)
        health_once(client, 200)
        *chunks, last = [line.removeprefix("data: ") for line in (first, *lines) if line]
        whole = client.post("/v1/completions", json=LONG | {"max_tokens": 600}).json()["choices"][0]["text"]

        assert last == "[DONE]"
        assert "".join(json.loads(chunk)["choices"][0]["text"] for chunk in chunks) == whole      # nothing was lost

    assert "1 sequences are open, and none got a token" in said


def test_a_time_shorter_than_between_two_signs_of_life_is_refused():
    with pytest.raises(ConfigError, match="stall_timeout = 1: expected seconds, at least 2"):
        ServerOptions(stall_timeout=1)

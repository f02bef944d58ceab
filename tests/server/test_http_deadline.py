"""The seconds that a client gives its request: a 408 or an error event when they are over, and the blocks are free."""

from __future__ import annotations

import json

import httpx
import pytest
from http_server import running_server
from tiny_llama import make_checkpoint
from waiting import until

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.server.admission import Pace, with_queue_limits
from weft.server.options import ServerOptions

LONG = {"prompt": "a", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1900, "ignore_eos": True}
ROUTES = ["/v1/completions", "/v1/chat/completions"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    model = make_checkpoint(tmp_path_factory.mktemp("tiny"), max_position_embeddings=2048)
    engine = AsyncLLM.from_engine_args(EngineArgs(model=str(model), kv_cache_memory_bytes=2**22, num_threads=1))
    yield engine
    engine.shutdown()


@pytest.fixture(scope="module")
def client(engine):
    with running_server(engine, ServerOptions()) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def is_empty(engine) -> bool:
    """True as soon as no sequence runs or waits and no block is held."""
    return until(lambda: not (engine.stats.num_running or engine.stats.num_waiting or engine.stats.kv_cache_usage))


@pytest.mark.parametrize("path", ROUTES)
def test_a_request_whose_time_is_over_is_a_408_and_frees_its_blocks(client, engine, path):
    answer = client.post(path, json=LONG | {"timeout": 0.05})

    assert answer.status_code == 408
    assert answer.json()["error"] == {
        "message": "The request did not end within its timeout of 0.05 s.", "type": "RequestTimeoutError",
        "param": "timeout", "code": 408}
    assert is_empty(engine)


@pytest.mark.parametrize("path", ROUTES)
def test_a_stream_whose_time_is_over_ends_with_that_error(client, engine, path):
    answer = client.post(path, json=LONG | {"stream": True, "timeout": 0.3})
    *tokens, error, done = [line for line in answer.text.split("\n\n") if line]

    assert tokens
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == 408
    assert done == "data: [DONE]"
    assert is_empty(engine)


def test_the_header_is_a_timeout_as_well_and_the_body_goes_first(client):
    headers = {"X-Weft-Timeout": "0.05"}

    assert client.post(ROUTES[0], json=LONG, headers=headers).status_code == 408
    assert client.post(ROUTES[0], json=LONG | {"max_tokens": 2, "timeout": 60}, headers=headers).status_code == 200


@pytest.mark.parametrize("field, body, headers", [
    ("timeout", {"timeout": 0}, {}), ("timeout", {"timeout": -1.5}, {}), ("timeout", {"timeout": "1"}, {}),
    ("X-Weft-Timeout", {}, {"X-Weft-Timeout": "soon"}), ("X-Weft-Timeout", {}, {"X-Weft-Timeout": "nan"})])
def test_a_timeout_that_is_no_time_is_refused(client, field, body, headers):
    answer = client.post(ROUTES[0], json=LONG | body, headers=headers)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


def test_a_client_that_leaves_frees_its_blocks_streamed_whole_and_queued(client, engine):
    with client.stream("POST", ROUTES[0], json=LONG | {"stream": True}) as answer:
        next(answer.iter_lines())
    assert is_empty(engine)

    with pytest.raises(httpx.ReadTimeout):
        client.post(ROUTES[0], json=LONG, timeout=0.2)
    assert is_empty(engine)

    with pytest.raises(httpx.ReadTimeout):      # 200 answers: more than run at once
        client.post(ROUTES[0], json=LONG | {"n": 200, "temperature": 1}, timeout=0.4)
    assert is_empty(engine)


def test_a_server_limits_what_waits_by_the_machines_memory():
    machine = Machine.detect()
    args = with_queue_limits(EngineArgs(), machine)

    assert args.max_num_queued_reqs == machine.memory_bytes.value // 32 // 2**16
    assert args.max_num_queued_tokens == machine.memory_bytes.value // 32 // 128
    assert with_queue_limits(EngineArgs(max_num_queued_reqs=3, max_num_queued_tokens=4), machine) == EngineArgs(
        max_num_queued_reqs=3, max_num_queued_tokens=4)


def test_without_experience_a_refused_client_comes_back_in_a_second():
    assert Pace().retry_after(1000) == 1

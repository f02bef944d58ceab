"""`serve` in a process of its own: what it prints, how it stops, and what it says when it cannot start."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest
from tiny_llama import make_checkpoint
from waiting import until

from weft.errors import ConfigError
from weft.server.access_log import AccessFilter
from weft.server.options import ServerOptions
from weft.server.run import listening_socket

PROGRAM = """
import sys
from weft.config.engine_args import EngineArgs
from weft.server.options import ServerOptions
from weft.server.run import serve
serve(EngineArgs(model=sys.argv[1] or None, kv_cache_memory_bytes=2**22, num_threads=1),
      ServerOptions(**eval(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("tiny"), max_position_embeddings=2048)


@contextlib.contextmanager
def serving(model, **options):
    """A server process and what it printed until it answered."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(model), repr(options)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    try:
        yield process, read_until(process, b"API  ")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def read_until(process, mark: bytes, seconds: float = 60.0) -> str:
    """What the process printed, up to the end of the line that holds `mark`."""
    text, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([process.stdout], [], [], 0.2)[0]:
            piece = os.read(process.stdout.fileno(), 65536)
            text += piece
            if not piece or (mark in text and text.endswith(b"\n")):
                return text.decode()
    raise TimeoutError(text)


def test_the_server_says_where_it_is_and_stops_cleanly_when_asked(model):
    with serving(model, port=0) as (process, printed):
        url = re.search(r"API +(http://127\.0\.0\.1:\d+)/v1", printed)[1]
        assert "LlamaForCausalLM, float32" in printed
        assert f"playground  {url}/" in printed
        assert httpx.get(f"{url}/health").status_code == 200
        children = psutil.Process(process.pid).children()
        assert len(children) == 1                          # the engine

        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=30) == 0
        assert not children[0].is_running()


def test_a_running_stream_ends_before_the_server_does(model):
    with serving(model, port=0, shutdown_timeout=20) as (process, printed):
        url = re.search(r"API +(\S+)", printed)[1]
        with httpx.stream("POST", f"{url}/completions", json={
                "prompt": "a", "max_tokens": 400, "stream": True, "ignore_eos": True}) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGINT)
            rest = list(lines)

        assert rest[-2] == "data: [DONE]" or rest[-1] == "data: [DONE]"
        assert process.wait(timeout=30) == 0


def test_requests_that_take_too_long_do_not_keep_the_server(model):
    with serving(model, port=0, shutdown_timeout=0) as (process, printed):
        url = re.search(r"API +(\S+)", printed)[1]
        body = {"prompt": "a", "n": 64, "temperature": 1, "max_tokens": 2000, "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{url}/completions", json=body) as answer:
            next(answer.iter_lines())
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0


def test_a_request_that_the_stop_cuts_ends_with_an_error_that_its_client_can_read(model):
    with serving(model, port=0, shutdown_timeout=0) as (process, printed):
        url = re.search(r"API +(\S+)", printed)[1]
        body = {"prompt": "a", "n": 64, "temperature": 1, "max_tokens": 2000, "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{url}/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            *_, error, done = [line for line in lines if line]

        assert json.loads(error.removeprefix("data: "))["error"]["code"] == 503
        assert done == "data: [DONE]"
        assert process.wait(timeout=30) == 0


def test_a_second_signal_ends_everything_at_once(model):
    with serving(model, port=0, shutdown_timeout=600) as (process, printed):
        url = re.search(r"API +(\S+)", printed)[1]
        engine, = psutil.Process(process.pid).children()
        body = {"prompt": "a", "n": 64, "temperature": 1, "max_tokens": 2000, "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{url}/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            while b"Shutting down" not in (said := process.stderr.readline()):
                assert said, "the server ended"
            process.send_signal(signal.SIGTERM)
            *_, error, _ = [line for line in lines if line]

        assert json.loads(error.removeprefix("data: "))["error"]["code"] == 503
        assert process.wait(timeout=30) == 0
        assert not engine.is_running()


def test_of_several_models_one_may_lose_its_engine_and_all_end_with_the_server(model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(model)
    with serving("", port=0, model_dir=str(tmp_path)) as (process, printed):
        url = re.search(r"API +(\S+)", printed)[1]
        assert "a\nmodel       b\n" in printed
        body = {"prompt": "a", "max_tokens": 200, "temperature": 0, "ignore_eos": True}
        first = httpx.post(f"{url}/completions", json=body | {"model": "a"}, timeout=60).json()
        engine = psutil.Process(process.pid).children()[0]      # the oldest: of the model that was loaded first
        with httpx.stream("POST", f"{url}/completions", json=body | {"model": "b", "stream": True},
                          timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            engine.kill()
            assert [line for line in lines if line][-1] == "data: [DONE]"
        again = httpx.post(f"{url}/completions", json=body | {"model": "a"}, timeout=60).json()
        assert again["choices"] == first["choices"]
        children = psutil.Process(process.pid).children()

        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=30) == 0
        assert not any(child.is_running() for child in children)


def test_one_checkpoint_generates_and_embeds_as_two_entries(model, tmp_path):
    listed = [{"name": "chat", "model": str(model)}, {"name": "vectors", "model": str(model), "runner": "pooling"}]
    (tmp_path / "models.json").write_text(json.dumps({"models": listed}))
    with serving("", port=0, models=str(tmp_path / "models.json")) as (_, printed):
        url = re.search(r"API +(\S+)", printed)[1]
        text = httpx.post(f"{url}/completions", json={"model": "chat", "prompt": "a", "max_tokens": 3}, timeout=60)
        vector = httpx.post(f"{url}/embeddings", json={"model": "vectors", "input": "a"}, timeout=60)
        wrong = httpx.post(f"{url}/embeddings", json={"model": "chat", "input": "a"}, timeout=60)

    assert text.json()["usage"]["completion_tokens"] == 3
    assert len(vector.json()["data"][0]["embedding"]) == json.loads((model / "config.json").read_text())["hidden_size"]
    assert wrong.status_code == 400


def test_an_engine_that_stays_down_ends_the_server_with_an_error(model):
    with serving(model, port=0, spare_engine=False) as (process, _):
        server = psutil.Process(process.pid)
        def has_ended() -> bool:
            for child in children_of(server):      # an engine never lives long enough to be of use
                child.kill()
            return process.poll() is not None

        until(has_ended, 120)
        assert process.returncode == 1
        assert b"starts in a row that brought no output" in process.stderr.read()


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """Its children that run; none once it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child for child in process.children() if child.status() != psutil.STATUS_ZOMBIE]
    return []


def test_a_unix_socket_serves_too_and_one_left_over_is_replaced(model, tmp_path):
    path = str(tmp_path / "weft.sock")
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(path)

    with serving(model, uds=path) as (_, printed):
        assert f"unix:{path}" in printed
        with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
            assert client.get("http://weft/v1/models").status_code == 200


def test_a_busy_port_is_one_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(ConfigError, match=f"port = {port}: expected a free port of 127.0.0.1.*another --port"):
            listening_socket(ServerOptions(port=port))


@pytest.mark.parametrize("options, field", [
    ({"host": "no.such.host.invalid"}, "host"), ({"host": "203.0.113.7"}, "host"),
    ({"uds": "/nowhere/at/all.sock"}, "uds"), ({"uds": "/etc/passwd"}, "uds")])
def test_an_address_that_is_not_ours_is_named(options, field):
    with pytest.raises(ConfigError) as error:
        listening_socket(ServerOptions(**{"port": 0, **options}))

    assert error.value.field == field


def test_a_socket_that_somebody_listens_on_is_not_taken_away(tmp_path):
    path = str(tmp_path / "weft.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()

        with pytest.raises(ConfigError, match="uds"):
            listening_socket(ServerOptions(uds=path))


@pytest.mark.parametrize("path, status, is_kept", [("/metrics", 200, False), ("/health", 200, False),
                                                   ("/health", 503, True), ("/v1/completions", 200, True)])
def test_the_access_log_leaves_out_those_who_only_watch(path, status, is_kept):
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, "%s %s %s %s %d",
                               ("127.0.0.1:5", "GET", path, "1.1", status), None)

    assert AccessFilter().filter(record) is is_kept

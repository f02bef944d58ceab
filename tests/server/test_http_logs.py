"""What the log says of requests: a line for each that has ended, one for each that was refused, and no key in any."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import re
import socket
import subprocess
import sys
import time

import httpx
import pytest
from fake_engine import FakeEngine
from http_server import running_server
from prometheus_client import CollectorRegistry
from test_log_line import parsed

from weft.errors import ConfigError
from weft.server.access_log import AccessFilter, LimitedWarnings
from weft.server.audit import Audit
from weft.server.errors import ApiError
from weft.server.options import ServerOptions
from weft.server.origin import Origin

KEYS = "sk-alpha team a\nsk-beta\n"
HI = [{"role": "user", "content": "Hi\nthere"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(KEYS)
    with running_server(FakeEngine(step_seconds=0.002), ServerOptions(
            api_key_file=str(file), enable_log_requests=True, enable_log_outputs=True, max_log_len=5,
            max_body_bytes=4096, enable_request_id_headers=True)) as url:
        yield url


@pytest.fixture
def lines(caplog):
    """lines(logger) -> what the logger has written in this test, as dictionaries."""
    caplog.set_level(logging.DEBUG, logger="weft")

    def read(name: str) -> list[dict[str, str]]:
        assert "sk-" not in caplog.text
        return [parsed(record.getMessage()) for record in caplog.records if record.name == name]

    return read


def post(url: str, path: str = "/v1/completions", *, key: str | None = "sk-alpha", headers=None, **options):
    key_header = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(url + path, headers=key_header | (headers or {}), timeout=20, **options)


def test_a_request_has_a_line_with_its_client_tokens_times_and_end(server, lines):
    answer = post(server, json={"prompt": "abc", "max_tokens": 4, "n": 2}, headers={"X-Request-Id": "mine"})

    [line, prompt] = lines("weft.requests")
    assert answer.json()["id"] == "cmpl-mine"
    assert line["id"].startswith("cmpl-mine-0-") and prompt["id"] == line["id"]
    assert (line["request_id"], line["model"]) == ("mine", "toy")
    assert {name: line[name] for name in ("route", "client", "key", "prompt_tokens", "cached_tokens", "output_tokens",
                                          "finish_reason")} == {
        "route": "POST /v1/completions", "client": "127.0.0.1", "key": "team a", "prompt_tokens": "3",
        "cached_tokens": "0", "output_tokens": "8", "finish_reason": "length"}
    assert (line["output_0"], line["output_1"]) == ("Hell", "Hell")
    assert 0 < float(line["first_token_s"]) < float(line["total_s"]) < 20


def test_texts_of_a_line_are_cut_and_stay_on_it(server, lines):
    post(server, "/v1/chat/completions", json={"messages": HI, "max_tokens": 8}, key="sk-beta")

    [line, prompt] = lines("weft.requests")
    assert (line["key"], line["output"], prompt["prompt"]) == ("key2", "Hello", "<|im_")


def test_a_streams_line_has_its_whole_answer(server, lines):
    post(server, json={"prompt": "a", "max_tokens": 3, "stream": True})

    line = lines("weft.requests")[0]
    assert (line["output_tokens"], line["finish_reason"], line["output"]) == ("3", "length", "Hel")


def test_a_client_that_left_has_a_line(server, lines):
    with httpx.stream("POST", f"{server}/v1/completions", headers={"X-API-Key": "sk-alpha"},
                      json={"prompt": "a", "max_tokens": 400, "ignore_eos": True, "stream": True}) as answer:
        next(answer.iter_lines())
    end = time.monotonic() + 20
    while not lines("weft.requests") and time.monotonic() < end:
        time.sleep(0.01)

    assert lines("weft.requests")[0]["finish_reason"] == "abort"


@pytest.mark.parametrize("options, status, key, reason", [
    ({"key": None, "json": {}}, 401, "-", "no API key"),
    ({"key": "sk-gamma", "json": {}}, 401, "-", "unknown API key"),
    ({"json": {"prompt": "a", "model": "other\nmodel"}}, 404, "team a", "The model 'other\\nmodel' does not exist"),
    ({"content": b" " * 5000, "headers": {"Content-Type": "application/json"}}, 413, "team a", "larger than 4096"),
    ({"json": {"prompt": "a", "timeout": 0.01, "max_tokens": 400}}, 408, "team a", "its timeout of 0.01 s"),
    ({"json": {"prompt": "a", "timeout": 0.01, "max_tokens": 400, "stream": True}}, 408, "team a", "0.01 s"),
])
def test_a_refused_request_has_a_line_that_says_why(server, lines, options, status, key, reason):
    answer = post(server, **options)

    [line] = lines("weft.audit")
    assert (line["status"], line["route"], line["client"], line["key"]) == (
        str(status), "POST /v1/completions", "127.0.0.1", key)
    assert reason in line["reason"]
    assert line["id"] == answer.headers["X-Request-Id"]
    assert line["time"].endswith("+00:00")


def test_a_wrong_body_or_path_is_no_refusal(server, lines):
    assert post(server, json={"prompt": 5}).status_code == 400
    assert post(server, "/nowhere", json={}).status_code == 404

    assert lines("weft.audit") == []


def test_refusals_are_counted(server):
    def count() -> float:
        text = httpx.get(f"{server}/metrics").text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines()
                   if line.startswith('http_requests_refused_total{status="401"}'))

    before = count()
    post(server, key=None, json={})
    assert count() == before + 1


@pytest.mark.parametrize("sent", ["a" * 257, "grün".encode("latin-1"), b"a\tb", b"\x80"])
def test_an_id_that_a_header_should_not_hold_is_replaced(server, sent):
    answer = post(server, json={"prompt": "a", "max_tokens": 1}, headers={"X-Request-Id": sent})

    found = answer.headers["X-Request-Id"]
    assert answer.json()["id"] == f"cmpl-{found}" and len(found) == 32 and found.isalnum()


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n ", b"\x00"])
def test_no_id_puts_a_header_into_a_response(server, end):
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(b"GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: a"
                     + end + b"Set-Cookie: b\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 ")
    assert not re.search(rb"[\r\n]set-cookie:", answer.lower())


def test_two_clients_may_send_the_same_id_at_once(server):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post(server, json={"prompt": "a", "max_tokens": 30},
                                               headers={"X-Request-Id": "same"}), range(4)))

    assert [(answer.status_code, answer.json()["id"]) for answer in answers] == [(200, "cmpl-same")] * 4


def origin(client: str, key_name: str | None = None) -> Origin:
    return Origin({"type": "http", "method": "POST", "path": "/v1/models"}, "id", client, key_name=key_name)


async def test_one_client_cannot_fill_the_log_and_hides_no_other(caplog):
    now = [0.0]
    audit = Audit(CollectorRegistry(), clock=lambda: now[0], summary_seconds=0.01)
    for _ in range(50):
        audit.refused(origin("10.0.0.1"), ApiError(401, "no API key"))
    audit.refused(origin("10.0.0.2"), ApiError(404, "The model is not here.", "model"))
    assert len(caplog.records) == 10 + 1

    await asyncio.sleep(0.05)
    summary = parsed(caplog.records[-1].getMessage())
    assert (summary["untold"], summary["by_status"]) == ("40", "401:40")

    now[0] = 10.0                                           # a line every ten seconds from here
    audit.refused(origin("10.0.0.1"), ApiError(401, "no API key"))
    audit.refused(origin("10.0.0.1"), ApiError(401, "no API key"))
    assert len(caplog.records) == 13


async def test_who_has_no_key_hides_no_client_with_a_key_at_the_same_address(caplog):
    audit = Audit(CollectorRegistry(), clock=lambda: 0.0)
    for _ in range(50):
        audit.refused(origin("10.0.0.1"), ApiError(401, "no API key"))
    audit.refused(origin("10.0.0.1", "team a"), ApiError(404, "The model is not here.", "model"))

    assert parsed(caplog.records[-1].getMessage())["key"] == "team a"


async def test_many_clients_together_cannot_fill_the_log(caplog):
    audit = Audit(CollectorRegistry(), clock=lambda: 0.0)
    for number in range(3000):
        audit.refused(origin(f"10.0.{number // 256}.{number % 256}"), ApiError(401, "no API key"))

    assert len(caplog.records) == 100


def test_a_request_is_refused_once(caplog):
    audit, one = Audit(CollectorRegistry()), origin("10.0.0.1")
    for _ in range(2):
        audit.refused(one, ApiError(408, "too slow"))

    assert len(caplog.records) == 1


@pytest.mark.parametrize("path, status, is_kept", [
    ("/v1/models", 200, True), ("/v1/models", 401, False), ("/v1/models", 429, False), ("/v1/models", 404, True),
    ("/quiet", 200, False), ("/quiet?a=1", 500, False), ("/quieter", 200, True)])
def test_the_access_log_leaves_out_refusals_and_silent_paths(path, status, is_kept):
    paths = ServerOptions(disable_access_log_for_endpoints="/other, /quiet").silent_paths
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, "%s %s %s %s %d",
                               ("127.0.0.1:5", "GET", path, "1.1", status), None)

    assert AccessFilter(paths).filter(record) is is_kept


def test_what_is_no_http_cannot_fill_the_log():
    now = [0.0]
    limited = LimitedWarnings(lambda: now[0])

    def warned() -> str | None:
        record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "Invalid HTTP request received.", (), None)
        return record.getMessage() if limited.filter(record) else None

    assert len([line for line in (warned() for _ in range(50)) if line]) == 20
    now[0] = 10.0
    assert warned() == "Invalid HTTP request received. (30 warnings before it were not logged)"
    now[0] = 20.0
    assert warned() == "Invalid HTTP request received."
    assert limited.filter(logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "An error", (), None))


def test_uvicorn_takes_the_log_configuration_and_its_warnings_are_limited():
    """In a process of its own, as the configuration changes the process's loggers."""
    program = ("import logging, uvicorn; from weft.server.access_log import log_config; "
               "from weft.server.options import ServerOptions; "
               "uvicorn.Config(None, log_config=log_config(ServerOptions())); "
               "[logging.getLogger('uvicorn.error').warning('Invalid HTTP request received.') for _ in range(50)]")

    lines = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr

    assert lines.count("Invalid HTTP request received.") == 20


def test_outputs_are_part_of_the_lines_of_requests():
    with pytest.raises(ConfigError, match=r"^enable_log_outputs = True: expected enable_log_requests with it"):
        ServerOptions(enable_log_outputs=True)


def test_an_error_that_nobody_foresaw_has_the_requests_id(caplog):
    with running_server(FakeEngine(fail_at=0, error=ZeroDivisionError("inside")),
                        ServerOptions(enable_request_id_headers=True)) as url:
        answer = post(url, json={"prompt": "a"}, headers={"X-Request-Id": "mine"})

    assert (answer.status_code, answer.headers["X-Request-Id"]) == (500, "mine")
    assert "inside" not in answer.text
    assert "request id=mine failed" in caplog.text

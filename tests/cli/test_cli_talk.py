"""`weft chat`, `weft complete` and `weft bench serve` against a real server, and a chat without one."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys

import pytest

from weft.cli import talk
from weft.cli.endpoint import events
from weft.cli.local_endpoint import LocalEndpoint
from weft.cli.main import main
from weft.config.engine_args import EngineArgs

KEY = "a-key"


@pytest.fixture(scope="module")
def server(checkpoint):
    """The address of `weft serve` with the tiny checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "weft.cli.main", "serve", str(checkpoint), "--port", "0", "--api-key", KEY,
         "--served-model-name", "tiny", "--no-use-tqdm-on-load", "--num-threads", "1"],
        stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    try:
        found = (re.search(r"(http://127\.0\.0\.1:\d+)/v1", line) for line in process.stdout)
        address = next(match[1] for match in found if match)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.fixture
def typed(monkeypatch):
    """Puts lines into the terminal that a command reads from."""
    def type_lines(*lines: str) -> None:
        waiting = iter(lines)

        def read(prompt: str = "") -> str:
            line = next(waiting, None)
            if line is None:
                raise EOFError
            return line

        monkeypatch.setattr("builtins.input", read)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    return type_lines


def test_one_message_gets_the_servers_answer(weft, server):
    ran = weft("chat", "--url", f"{server}/v1", "--api-key", KEY, "-q", "hello", "--max-tokens", 8, "--system-prompt",
               "be brief", "--stats")

    assert ran.status == 0 and ran.out.endswith("\n")
    assert re.search(r"\[\d+ prompt tokens, \d+ tokens in .* s, first after .* s", ran.err)


def test_a_text_from_a_pipe_is_continued(weft, server, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Once upon\n"))
    monkeypatch.setenv("WEFT_API_KEY", KEY)

    ran = weft("complete", "--url", f"{server}/v1", "--max-tokens", 6, "--stats")

    assert ran.status == 0
    assert "9 prompt tokens, 6 tokens" in ran.err


def test_a_conversation_sends_all_that_was_said_until_it_is_cleared(server, typed, monkeypatch, capsys):
    sent = []
    real = talk.ServerEndpoint.chat
    monkeypatch.setattr(talk.ServerEndpoint, "chat",
                        lambda self, messages, settings: sent.append([m["content"] for m in messages])
                        or (["fine"] if messages else real(self, messages, settings)))
    typed("one", "", "two", "/clear", "three")

    status = main(["chat", "--url", f"{server}/v1", "--api-key", KEY, "--system-prompt", "sys"])

    assert status == 0
    assert sent == [["sys", "one"], ["sys", "one", "fine", "two"], ["sys", "three"]]
    assert capsys.readouterr().out.count("fine\n") == 3


def test_an_interrupted_answer_is_forgotten_and_the_conversation_goes_on(server, typed, monkeypatch):
    sent = []

    def answer(self, messages, settings):
        sent.append([m["content"] for m in messages])
        if len(sent) == 1:
            raise KeyboardInterrupt
        return ["fine"]

    monkeypatch.setattr(talk.ServerEndpoint, "chat", answer)
    typed("one", "two")

    assert main(["chat", "--url", f"{server}/v1", "--api-key", KEY]) == 0
    assert sent == [["one"], ["two"]]


@pytest.mark.parametrize(("extra", "message"), [
    ([], "HTTP 401"), (["--api-key", KEY, "--model-name", "other"], "HTTP 404: The model 'other' does not exist"),
])
def test_a_server_that_refuses_is_told_and_nothing_is_started_instead(weft, server, extra, message):
    ran = weft("chat", "--url", f"{server}/v1", "-q", "hello", *extra)

    assert ran.status == 1 and message in ran.err and ran.out == ""


def test_a_model_of_ones_own_needs_no_server(weft, checkpoint):
    ran = weft("chat", "--model", checkpoint, "-q", "hello", "--max-tokens", 4, "--stats")

    assert ran.status == 0
    assert re.search(r"\d+ prompt tokens, [1-4] tokens", ran.err)


def test_an_interrupted_answer_leaves_the_engine_ready_for_the_next(checkpoint):
    def interrupt():
        raise KeyboardInterrupt

    endpoint = LocalEndpoint(EngineArgs(model=str(checkpoint), use_tqdm_on_load=False))
    try:
        pieces = endpoint.complete("abc", {"max_tokens": 200})
        next(pieces)
        endpoint._loop.call_soon(interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(pieces)

        list(endpoint.complete("abc", {"max_tokens": 5}))
        assert 1 <= endpoint.usage.completion_tokens <= 5
    finally:
        endpoint.close()


def test_without_a_server_and_without_url_the_model_inside_answers(weft, monkeypatch):
    monkeypatch.setattr(talk, "DEFAULT_URL", "http://127.0.0.1:9/v1")       # nobody listens on the discard port

    ran = weft("chat", "-q", "What is 17 + 25?")

    assert ran.status == 0
    assert "17 + 25" in ran.out and "No server at http://127.0.0.1:9/v1" in ran.err


def test_a_running_server_is_measured(weft, server, tmp_path):
    output = tmp_path / "serve.json"

    ran = weft("bench", "serve", "--base-url", server, "--api-key", KEY, "--num-prompts", 8, "--num-warmups", 1,
               "--input-len", 10, "--output-len", 5, "--request-rate", 200, "--max-concurrency", 4,
               "--output-json", output)

    content = json.loads(output.read_text())
    assert ran.status == 0
    assert content["totals"]["requests answered"] == 8 and content["totals"]["requests failed"] == 0
    assert content["totals"]["requests refused"] == 0 and content["totals"]["HTTP CPU (us/token)"] >= 0
    assert (content["totals"]["prompt tokens"], content["totals"]["output tokens"]) == (80, 40)
    assert len(content["samples"]["TTFT (ms)"]) == len(content["samples"]["E2EL (ms)"]) == 8
    assert "api_key" not in content["settings"]
    for first, last in zip(content["samples"]["TTFT (ms)"], content["samples"]["E2EL (ms)"], strict=True):
        assert 0 < first <= last


def test_requests_that_a_server_refuses_are_counted_and_told(weft, server):
    ran = weft("bench", "serve", "--base-url", server, "--api-key", KEY, "--num-prompts", 2, "--num-warmups", 0,
               "--input-len", 5000, "--output-len", 5)

    assert ran.status == 1
    assert "requests failed" in ran.out and "failed: HTTP 400" in ran.out


def test_events_end_at_done():
    lines = iter([": comment", 'data: {"a": 1}', "", "data: [DONE]", 'data: {"a": 2}'])

    assert list(events(lines)) == [{"a": 1}]


@pytest.mark.parametrize("command", ["chat", "complete"])
def test_a_text_and_the_same_option_are_refused_together(capsys, command):
    assert main([command, "path/to/model", "-q", "hello"]) == 1
    assert "--quick = 'hello': expected one of" in capsys.readouterr().err

"""Commands that are started without standard streams, as daemons and init scripts start others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

WEFT = [sys.executable, "-m", "weft.cli.main"]
CLOSED = {"stdout": (1,), "all three": (0, 1, 2)}


def started(arguments: list[str], closed: tuple[int, ...], **options) -> subprocess.Popen:
    """A command whose descriptors `closed` are closed when Python begins."""
    redirections = " ".join(f"{number}>&-" for number in closed)
    return subprocess.Popen(["sh", "-c", f'exec "$@" {redirections}', "sh", *WEFT, *arguments], **options)


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["inspect"], ["inspect", "--config"],
                                       ["--help"], ["cache", "list"]], ids=" ".join)
def test_commands_that_print_end_without_a_traceback(arguments):
    process = started(arguments, (1,), stderr=subprocess.PIPE, text=True)

    _, stderr = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "Traceback" not in stderr and "rror" not in stderr


@pytest.mark.parametrize("closed", CLOSED.values(), ids=CLOSED)
def test_a_server_needs_no_standard_streams(tmp_path, closed):
    path = str(tmp_path / "socket")
    process = started(["serve", "--uds", path, "--kv-cache-memory-bytes", "8m"], closed, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
            answer = patiently(lambda: client.post("http://weft/v1/completions", timeout=30,
                                                   json={"prompt": "Hello", "max_tokens": 1}), process)
        assert answer.status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def patiently(ask, process: subprocess.Popen) -> httpx.Response:
    while True:
        try:
            return ask()
        except httpx.TransportError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)


def test_a_childs_socket_is_no_standard_stream():
    code = ("import os, socket; [os.close(n) for n in range(3)]; from weft.engine.process.spare import _above_streams; "
            "numbers = [s.fileno() for s in map(_above_streams, socket.socketpair())]; "
            "os._exit(0 if min(numbers) > 2 else 1)")

    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), timeout=60).returncode == 0

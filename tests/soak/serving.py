"""A `weft serve` of the embedded model, and clients that stream from it: for the soak scripts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

START_S = 120
PROMPTS = ("Once upon a time", "Tom had a red ball.", "The little dog", "Lily went to the park", "One day, a bird")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. process: the HTTP server's, whose children are the engine and its spare."""

    url: str
    process: psutil.Process

    def children(self) -> list[psutil.Process]:
        """The engine's process and the spare one, those of them that live."""
        return [child for child in self.process.children() if child.status() != psutil.STATUS_ZOMBIE]

    def figures(self) -> dict[str, float]:
        """{name: value} of /metrics without labels."""
        found = {}
        for line in httpx.get(f"{self.url}/metrics", timeout=60).text.splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                found[name.partition("{")[0]] = float(value)
        return found

    def rss_bytes(self) -> int:
        """Resident memory of all processes."""
        return sum(process.memory_info().rss for process in (self.process, *self.children()))

    def is_empty(self, seconds: float = 30) -> bool:
        """True as soon as no sequence runs or waits and no block is held."""
        end = time.monotonic() + seconds
        names = ("weft:num_requests_running", "weft:num_requests_waiting", "weft:kv_cache_usage_perc")
        while time.monotonic() < end:
            figures = self.figures()
            if not any(figures[name] for name in names):
                return True
            time.sleep(0.05)
        return False


@contextlib.contextmanager
def serving(*options: str) -> Iterator[Server]:
    """A server on a free port, ended with SIGTERM at the end of the block."""
    command = [sys.executable, "-m", "weft.cli.main", "serve", "--port", "0", "--disable-uvicorn-access-log", *options]
    environ = os.environ | {"WEFT_LOGGING_LEVEL": "ERROR"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        try:
            yield Server(_url(process), psutil.Process(process.pid))
        finally:
            process.terminate()


def _url(process: subprocess.Popen) -> str:
    text, end = "", time.monotonic() + START_S
    while time.monotonic() < end:
        if select.select([process.stdout], [], [], 0.2)[0]:
            piece = os.read(process.stdout.fileno(), 65536)
            text += piece.decode()
            found = re.search(r"API +(\S+)/v1", text)
            if found:
                return found[1]
            if not piece:
                break
    raise RuntimeError(f"the server did not start: {text}")


def body(number: int, max_tokens: int) -> dict[str, Any]:
    """The body of request number `number`: a prompt, sampled with a seed of its own."""
    return {"prompt": PROMPTS[number % len(PROMPTS)], "seed": number, "temperature": 1.0, "max_tokens": max_tokens,
            "ignore_eos": True, "stream": True, "return_token_ids": True}


async def stream(client: httpx.AsyncClient, request: dict[str, Any]) -> AsyncIterator[list[int]]:
    """The token ids of each event. RuntimeError with the server's words for an error, or an end before [DONE]."""
    async with client.stream("POST", "/v1/completions", json=request) as answer:
        if answer.status_code != 200:
            raise RuntimeError((await answer.aread()).decode())
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                return
            if line:
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    raise RuntimeError(event["error"]["message"])
                yield event["choices"][0].get("token_ids") or []
    raise RuntimeError("the stream ended without [DONE]")


def open_client(server: Server) -> httpx.AsyncClient:
    """A client for any number of streams at once."""
    return httpx.AsyncClient(base_url=server.url, timeout=None,
                             limits=httpx.Limits(max_connections=None, max_keepalive_connections=0))

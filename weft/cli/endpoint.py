"""`Endpoint`: the model behind `weft chat` and `weft complete`; `ServerEndpoint`: one at an OpenAI-compatible server.

`local_endpoint.py` has the other kind: a model in an engine of this command. Endpoints return an answer as an iterator
of text pieces and keep the `Usage` of the last answer. This module prints nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

DEFAULT_URL = "http://127.0.0.1:8000/v1"
# Seconds. Connecting either succeeds quickly or not at all; the first token of a long prompt may take minutes.
TIMEOUT = httpx.Timeout(600.0, connect=5.0)


@dataclass(slots=True)
class Usage:
    """Token counts and times of one answer; times in seconds of `time.perf_counter`."""

    started: float = field(default_factory=time.perf_counter)
    first_token: float | None = None
    ended: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def note_text(self) -> None:
        """Notes the time of a piece of text."""
        self.ended = time.perf_counter()
        if self.first_token is None:
            self.first_token = self.ended

    def summary(self) -> str:
        """A line with counts, times and rate."""
        first = (self.first_token or self.started) - self.started
        total = (self.ended or self.started) - self.started
        decoding = total - first
        rate = f", {(self.completion_tokens - 1) / decoding:.1f} tokens/s" if decoding > 0 else ""
        return (f"{self.prompt_tokens} prompt tokens, {self.completion_tokens} tokens in {total:.2f} s, "
                f"first after {first:.2f} s{rate}")


class Thought(str):
    """A piece of the model's reasoning, which is no part of its answer."""


class Endpoint(Protocol):
    """A model that can be asked. name: the model's name. has_chat: it may be sent messages.

    settings: sampling fields of the request, by the names of SamplingParams.
    """

    name: str
    usage: Usage

    @property
    def has_chat(self) -> bool:
        """True if the model may have a chat template."""
        ...

    def chat(self, messages: list[dict[str, Any]], settings: Mapping[str, Any]) -> Iterator[str]:
        """The pieces of the answer, as they come, and before them Thoughts.

        RequestError or ConnectionError if the request fails.
        """
        ...

    def complete(self, prompt: str, settings: Mapping[str, Any]) -> Iterator[str]:
        """The pieces of the continuation, as they come."""
        ...

    def close(self) -> None:
        """Close the connection or the engine."""


class ServerEndpoint:
    """An OpenAI-compatible server. ConnectionError if it cannot be reached or answers with an error.

    url: http://host:port, with or without /v1.
    """

    has_chat = True      # what a server's model can do is known when it refuses

    def __init__(self, url: str, *, api_key: str | None = None, model_name: str | None = None) -> None:
        self.url = url.rstrip("/") + ("" if urlsplit(url).path.strip("/") else "/v1")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT)
        self.usage = Usage()
        names = self._model_names()
        self.name = model_name or names[0]

    def chat(self, messages: list[dict[str, Any]], settings: Mapping[str, Any]) -> Iterator[str]:
        """POST /chat/completions, streamed."""
        for choice in self._stream("/chat/completions", {"messages": messages, **settings}):
            delta = choice.get("delta", {})
            yield Thought(delta.get("reasoning") or delta.get("reasoning_content") or "")
            yield delta.get("content") or ""

    def complete(self, prompt: str, settings: Mapping[str, Any]) -> Iterator[str]:
        """POST /completions, streamed."""
        for choice in self._stream("/completions", {"prompt": prompt, **settings}):
            yield choice.get("text") or ""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _model_names(self) -> list[str]:
        try:
            answer = self._client.get("/models")
            if answer.is_error:
                raise ConnectionError(f"{self.url}: {error_text(answer.status_code, answer.content)}")
            return [model["id"] for model in answer.json()["data"]] or [""]
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectionError(f"{self.url}: {error or type(error).__name__}. Is a server there? `weft serve` "
                                  "starts one.") from error
        except (ValueError, LookupError, TypeError) as error:
            raise ConnectionError(f"{self.url}/models is no list of models; is this an OpenAI-compatible server?") \
                from error

    def _stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.usage = Usage()
        body |= {"model": self.name, "stream": True, "stream_options": {"include_usage": True}}
        try:
            with self._client.stream("POST", path, json=body) as answer:
                if answer.is_error:
                    raise ConnectionError(f"{self.url}: {error_text(answer.status_code, answer.read())}")
                for event in events(answer.iter_lines()):
                    yield from self._choices(event)
        except httpx.HTTPError as error:
            raise ConnectionError(f"{self.url}: {error or type(error).__name__}") from error

    def _choices(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "error" in event:
            raise ConnectionError(f"{self.url}: {event['error'].get('message', event['error'])}")
        if event.get("usage"):
            self.usage.prompt_tokens = event["usage"]["prompt_tokens"]
            self.usage.completion_tokens = event["usage"]["completion_tokens"]
        for choice in event.get("choices", []):
            self.usage.note_text()
            yield choice


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events, up to [DONE]."""
    for line in lines:
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                return
            yield json.loads(data)


def error_text(status: int, body: bytes) -> str:
    """The message of an error response, in one line."""
    try:
        error = json.loads(body)["error"]
        message = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, LookupError, TypeError):
        message = body.decode("utf-8", "replace")[:200]
    hint = " Give a key with --api-key." if status == 401 else ""
    return f"HTTP {status}: {message}{hint}"

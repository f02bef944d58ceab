"""A measuring client of an OpenAI-compatible server: streams completions with each piece's time, embeds or ranks."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from weft.cli.bench.workload import Job
from weft.cli.endpoint import TIMEOUT, error_text

SAMPLE_TEXT = (
    "The harbour lay quiet while boats came home, and the children counted seven birds above the old stone tower. "
    "def area(width, height): return width * height  # a small function, with 123 and 4.56 in a comment. "
    "Every morning the baker opens her door, sells warm bread, writes 20 letters and closes again before noon."
)
QUERY_WORDS = 8      # of a request for a ranking


@dataclass(slots=True)
class Result:
    """The measurements of one request, in seconds.

    ttft: time to the first token. latency: time to the last token. gaps: times between successive pieces of text.
    num_texts: embeddings, or ranked documents, that the answer has.
    error: why the request failed. is_refused: the server had no place for the request (status 429).
    """

    prompt_tokens: int = 0
    output_tokens: int = 0
    num_texts: int = 0
    ttft: float = 0.0
    latency: float = 0.0
    gaps: list[float] = field(default_factory=list)
    error: str | None = None
    is_refused: bool = False

    @property
    def tpot(self) -> float:
        """Seconds for each token after the first."""
        return (self.latency - self.ttft) / max(1, self.output_tokens - 1)


class Client:
    """Connections to one server. endpoint: the route that is measured."""

    def __init__(self, base_url: str, *, api_key: str | None, model_name: str | None, limits: httpx.Limits,
                 endpoint: str = "/v1/completions") -> None:
        self._url = base_url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(base_url=self._url, headers=headers, timeout=TIMEOUT, limits=limits)
        self.model, self.endpoint = model_name or "", endpoint

    async def __aenter__(self) -> Self:
        try:
            answer = await self._http.get("/v1/models")
        except httpx.HTTPError as error:
            raise ConnectionError(f"{self._url}: {error or type(error).__name__}. Start a server with `weft serve`, or "
                                  "name one with --base-url.") from error
        if answer.is_error:
            raise ConnectionError(f"{self._url}: {error_text(answer.status_code, answer.content)}")
        self.model = self.model or answer.json()["data"][0]["id"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def vocabulary(self) -> list[Any]:
        """Token ids that are valid at the server, or words if the server has no /tokenize."""
        body = {"model": self.model, "prompt": SAMPLE_TEXT, "add_special_tokens": False}
        answer = await self._http.post("/tokenize", json=body)
        if answer.is_error:
            return SAMPLE_TEXT.split()
        return sorted(set(answer.json()["tokens"]))

    async def http_cpu_seconds(self) -> float | None:
        """The processor time that the server's HTTP process has used, from /metrics; None if the server tells none."""
        answer = await self._http.get("/metrics")
        found = re.search(r"^process_cpu_seconds_total ([0-9.e+-]+)$", answer.text, re.MULTILINE)
        return float(found[1]) if answer.is_success and found else None

    async def answer(self, job: Job, *, ignore_eos: bool) -> Result:
        """Stream one completion. A failure is in the result, not raised, so that other requests go on."""
        prompt: Any = job.prompt_token_ids
        if isinstance(prompt[0], str):
            prompt = " ".join(prompt)
        body = {"model": self.model, "prompt": prompt, "max_tokens": job.output_len, "temperature": 0.0, "stream": True,
                "stream_options": {"include_usage": True}}
        if ignore_eos:
            body["ignore_eos"] = True
        result = Result()
        try:
            await self._stream(body, result)
        except (httpx.HTTPError, ValueError, LookupError) as error:
            result.error = f"{type(error).__name__}: {error}"
        return result

    async def embed(self, jobs: Sequence[Job]) -> Result:
        """Make the embeddings of several prompts in one request. A failure is in the result, not raised."""
        ids = [job.prompt_token_ids for job in jobs]
        texts = [_text(job) for job in jobs] if isinstance(ids[0][0], str) else ids
        return await self._pooled({"model": self.model, "input": texts, "encoding_format": "base64"}, "data")

    async def rank(self, jobs: Sequence[Job]) -> Result:
        """Rank several prompts of words by the first words of the first one. A failure is in the result, not raised."""
        documents = [_text(job) for job in jobs]
        query = " ".join(documents[0].split()[:QUERY_WORDS])
        body = {"model": self.model, "query": query, "documents": documents, "return_documents": False}
        return await self._pooled(body, "results")

    async def _pooled(self, body: dict[str, Any], key: str) -> Result:
        """The result of a request that is answered at once. key: of the list in the answer."""
        result, start = Result(), time.perf_counter()
        try:
            answer = await self._http.post(self.endpoint, json=body)
            result.latency = time.perf_counter() - start
            if answer.is_error:
                result.error = error_text(answer.status_code, answer.content)
                result.is_refused = answer.status_code == 429
            else:
                found = answer.json()
                result.prompt_tokens, result.num_texts = found["usage"]["prompt_tokens"], len(found[key])
        except (httpx.HTTPError, ValueError, LookupError) as error:
            result.error = f"{type(error).__name__}: {error}"
        return result

    async def _stream(self, body: dict[str, Any], result: Result) -> None:
        start = last = time.perf_counter()
        async with self._http.stream("POST", self.endpoint, json=body) as answer:
            if answer.is_error:
                result.error = error_text(answer.status_code, await answer.aread())
                result.is_refused = answer.status_code == 429
                return
            async for line in answer.aiter_lines():
                if not line.startswith("data:") or line[5:].strip() == "[DONE]":
                    continue
                now, event = time.perf_counter(), json.loads(line[5:])
                if "error" in event:
                    result.error = str(event["error"].get("message", event["error"]))
                    return
                if event.get("usage"):
                    result.prompt_tokens = event["usage"]["prompt_tokens"]
                    result.output_tokens = event["usage"]["completion_tokens"]
                if event.get("choices"):
                    if result.ttft:
                        result.gaps.append(now - last)
                    else:
                        result.ttft = now - start
                    last, result.latency = now, now - start
        if not result.ttft:
            result.error = "the stream ended without a token"


def _text(job: Job) -> str:
    """A prompt of words as a text."""
    return " ".join(map(str, job.prompt_token_ids))

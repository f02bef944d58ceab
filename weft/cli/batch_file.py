"""The file format of OpenAI batches: reads a request from each line and makes the output entries."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.cli.files import read_text

URLS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/chat/completions/batch",
        "/v1/embeddings", "/v2/embed", "/v1/embed", "/pooling", "/classify", "/score", "/v1/score", "/rerank",
        "/v1/rerank", "/v2/rerank")
_PLAIN = ("bytes", "bytes_only")      # values of encoding_format
_NOT_IN_BATCHES = {"stream": "a batch is not streamed", "background": "a batch waits for its answers"}


@dataclass(frozen=True, slots=True)
class Line:
    """One request of the file. error: what is wrong with the line; then `url` and `body` are not set."""

    custom_id: str | None
    url: str = ""
    body: dict[str, Any] | None = None
    error: str | None = None


def read_lines(path: Path) -> list[Line]:
    """The file's requests, without blank lines. ConfigError if the file cannot be read or is no UTF-8 text."""
    return list(_parsed(read_text("--input-file", path, expected="a text file of JSON lines")))


def entry(line: Line, *, status: int | None = None, request_id: str | None = None, body: Any = None) -> dict[str, Any]:
    """One entry of the output: the response, or the line's error."""
    out: dict[str, Any] = {"id": f"weft-{secrets.token_hex(12)}", "custom_id": line.custom_id, "response": None,
                           "error": None}
    if line.error is not None:
        out["error"] = {"code": "invalid_request", "message": line.error}
    else:
        out["response"] = {"status_code": status, "request_id": request_id or out["id"], "body": body}
    return out


def is_failed(output: dict[str, Any]) -> bool:
    """True if the entry is an error or has an error status."""
    return output["error"] is not None or output["response"]["status_code"] >= 400


def _parsed(content: str) -> Iterator[Line]:
    seen: set[str] = set()
    for number, text in enumerate(content.split("\n"), start=1):      # JSON strings may contain other line separators
        if text.strip():
            line = _line(text, number)
            if line.custom_id in seen and line.error is None:
                line = Line(line.custom_id, error=f"line {number}: custom_id {line.custom_id!r} is used twice")
            seen.add(line.custom_id or "")
            yield line


def _line(text: str, number: int) -> Line:
    try:
        request = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Line(None, error=f"line {number} is no JSON: {error}")
    if not isinstance(request, dict):
        return Line(None, error=f"line {number}: expected an object, got {type(request).__name__}")
    custom_id, method, url, body = (request.get(key) for key in ("custom_id", "method", "url", "body"))
    if not isinstance(custom_id, str) or not custom_id:
        return Line(None, error=f"line {number}: custom_id = {custom_id!r}: expected a string")
    if method != "POST":
        return Line(custom_id, error=f"line {number}: method = {method!r}: expected POST")
    if url not in URLS:
        return Line(custom_id, error=f"line {number}: url = {url!r}: expected one of {', '.join(URLS)}")
    if not isinstance(body, dict):
        return Line(custom_id, error=f"line {number}: body: expected an object, got {type(body).__name__}")
    for name, reason in _NOT_IN_BATCHES.items():
        if body.get(name):
            return Line(custom_id, error=f"line {number}: body.{name} = true: {reason}")
    if body.get("encoding_format") in _PLAIN:
        return Line(custom_id, error=f"line {number}: body.encoding_format = {body['encoding_format']!r}: expected "
                    "float or base64, as the answers are written as JSON")
    return Line(custom_id, url, body)

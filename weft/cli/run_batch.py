"""`weft run-batch`: a file of OpenAI batch requests answered by an engine of its own, through the server's own routes.

A line that is wrong gets an error entry of its own; the output keeps the input's order.
"""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser, human_int
from weft.errors import ConfigError

URLS = ("/v1/chat/completions", "/v1/completions")


@dataclass(frozen=True, slots=True)
class Line:
    """One request of the file. error: what is wrong with the line, then url and body say nothing."""

    custom_id: str | None
    url: str = ""
    body: dict[str, Any] | None = None
    error: str | None = None


def add_arguments(parser: Parser) -> None:
    """Files and engine options."""
    parser.add_argument("-i", "--input-file", required=True, metavar="FILE", help="a JSON request on each line: "
                        "custom_id, method, url, body")
    parser.add_argument("-o", "--output-file", required=True, metavar="FILE", help="where the answers go, line by line")
    parser.add_argument("--max-concurrency", type=human_int, default=256, metavar="N",
                        help="most requests at the same time (default: 256)")
    add_engine_options(parser)


def run(options: argparse.Namespace) -> int:
    """Answer the file; exit status 1 when a line got an error."""
    lines = read_lines(Path(options.input_file))
    output = Path(options.output_file)
    if not output.resolve().parent.is_dir():
        raise ConfigError("--output-file", str(output), expected="a file in a directory that exists")
    from weft.cli.batch import answer_all

    entries = answer_all(engine_args(options), lines, max_concurrency=options.max_concurrency)
    output.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries), encoding="utf-8")
    failed = sum(is_failed(entry) for entry in entries)
    print(f"{len(entries)} requests, {failed} failed: {output}")
    return 1 if failed else 0


def read_lines(path: Path) -> list[Line]:
    """The file's requests; blank lines are left out. ConfigError when it cannot be read or is no text."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError("--input-file", str(path), expected="a text file of JSON lines", hint=f"{reason}.") from error
    return list(_parsed(content))


def entry(line: Line, *, status: int | None = None, request_id: str | None = None, body: Any = None) -> dict[str, Any]:
    """A line of the output: the answer, or the error that kept it from being sent."""
    out: dict[str, Any] = {"id": f"weft-{secrets.token_hex(12)}", "custom_id": line.custom_id, "response": None,
                           "error": None}
    if line.error is not None:
        out["error"] = {"code": "invalid_request", "message": line.error}
    else:
        out["response"] = {"status_code": status, "request_id": request_id or out["id"], "body": body}
    return out


def is_failed(output: dict[str, Any]) -> bool:
    """True when a line was not answered with success."""
    return output["error"] is not None or output["response"]["status_code"] >= 400


def _parsed(content: str) -> Iterator[Line]:
    seen: set[str] = set()
    for number, text in enumerate(content.splitlines(), start=1):
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
    if body.get("stream"):
        return Line(custom_id, error=f"line {number}: body.stream = true: a batch is not streamed")
    return Line(custom_id, url, body)

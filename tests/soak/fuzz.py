"""Hostile requests to every route of a server, while another client checks that its own answers stay the same.

    python tests/soak/fuzz.py --seconds 600

Bodies come from two sources: schemathesis makes right and wrong ones of /openapi.json; and a good body of each route
gets hostile values in its fields, one or several at a time. No answer may have a status of 500 or more, other than 501
(not built), and no error may tell addresses, paths or a traceback.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import hypothesis
import schemathesis
from hypothesis import HealthCheck
from serving import PROMPTS, Server, serving

DEADLINE = {"X-Weft-Timeout": "5"}      # seconds: no request lasts longer
LEAKS = re.compile(r'0x[0-9a-f]{8}|Traceback|File "|/site-packages/|/tmp/|/home/|/root/|\.py\b')
QUESTION = {"prompt": PROMPTS[0], "max_tokens": 24, "seed": 5, "temperature": 1.0, "return_token_ids": True}
MESSAGES = [{"role": "user", "content": "Hi"}]
# A body for each route that takes one; hostile values go into its fields and into those that the API's description has.
GOOD: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "a", "max_tokens": 2},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 2},
    "/v1/chat/completions/batch": {"messages": [MESSAGES], "max_tokens": 2},
    "/v1/responses": {"input": "a", "max_output_tokens": 2},
    "/v1/responses/input_tokens": {"input": "a"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 2},
    "/v1/messages/count_tokens": {"messages": MESSAGES},
    "/v1/embeddings": {"input": "a"},
    "/invocations": {"prompt": "a", "max_tokens": 2},
    "/tokenize": {"prompt": "a"},
    "/detokenize": {"tokens": [1, 2]},
}
HOSTILE: list[Any] = [
    None, True, "", " ", "\x00", "\ud800", "a" * 100_000, "🙂" * 500, "{{ ''.__class__ }}", "(a+)+$",
    "../../etc/passwd", 0, -1, 1, 2**31, 2**63, -2**63, 10**40, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"),
    [], [[]], [None], [0], [-1], [2**63], ["a"] * 5000, [[1, 2], "a"], {}, {"": None}, {"a": {"b": []}},
    {"type": "json_schema"}, {"type": "object", "properties": {"a": {"$ref": "#"}}}, {"json": {"$ref": "#/x"}},
    {"regex": "(" * 200 + ")" * 200},
    {"0": 100, "99999999": 1}, {"type": "function", "function": {"name": "f", "parameters": {"type": "strin"}}},
    [{"role": "user"}], [{"role": "tool", "content": []}], [{"role": "user", "content": [{"type": "image_url"}]}],
    {"grammar": "root ::= root root"}, {"structural_tag": "{"},
]


@dataclass(slots=True)
class Report:
    """statuses: answers by status. faults: what went wrong, in words, each kind once."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: dict[str, None] = field(default_factory=dict)
    num_checks: int = 0

    @property
    def is_good(self) -> bool:
        return bool(self.statuses and self.num_checks) and not self.faults

    def add(self, request: str, status: int, text: str) -> None:
        """Judges an answer."""
        self.statuses[status] += 1
        if status >= 500 and status != 501:
            self.faults.setdefault(f"{status} for {request[:300]}: {text[:300]}")
        elif status >= 400 and (leak := LEAKS.search(text)):
            self.faults.setdefault(f"{leak[0]} in the error of {request[:300]}: {text[:300]}")


def run(server: Server, *, seconds: float, seed: int = 0) -> Report:
    """Both sources in turns for `seconds` seconds; a checking client beside them."""
    report, end, is_done = Report(), time.monotonic() + seconds, threading.Event()
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    fields = {operation.path: field_names(schema.raw_schema, operation.path) for operation in operations}
    checker = threading.Thread(target=check_answers, args=(server, is_done, report))
    checker.start()
    draw = random.Random(seed)
    try:
        with httpx.Client(base_url=server.url, headers=DEADLINE, timeout=60) as client:
            while time.monotonic() < end:
                for path, body in hostile_bodies(fields, draw):
                    send(client, path, body, report)
                    if time.monotonic() > end:
                        break
                for operation in operations:
                    if time.monotonic() < end:
                        described(operation, report, draw.randrange(2**32))
    finally:
        is_done.set()
        checker.join()
    if not server.is_empty():
        report.faults.setdefault("blocks are held at the end")
    return report


def field_names(schema: dict[str, Any], path: str) -> list[str]:
    """The fields of a route's body, as /openapi.json describes them."""
    content = schema["paths"][path].get("post", {}).get("requestBody", {}).get("content", {})
    named = content.get("application/json", {}).get("schema", {})
    for part in named.get("$ref", "").split("/")[1:]:
        schema = schema[part]
    return list((schema if "$ref" in named else named).get("properties", ()))


def hostile_bodies(fields: dict[str, list[str]], draw: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """(route, a good body with hostile values): 20 for each route."""
    for path, good in GOOD.items():
        names = [*good, *fields.get(path, ())]
        for _ in range(20):
            body = dict(good)
            for name in draw.sample(names, k=min(draw.choice((1, 1, 1, 2, 4)), len(names))):
                body[name] = draw.choice(HOSTILE)
            yield path, body


def send(client: httpx.Client, path: str, body: dict[str, Any], report: Report) -> None:
    """One request, its body as Python's json writes it: also NaN, and halves of surrogate pairs."""
    content = json.dumps(body).encode()
    try:
        answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
    except httpx.HTTPError as error:
        report.faults.setdefault(f"{type(error).__name__} for {path} {content[:300]!r}: {error}")
        return
    report.add(f"{path} {content[:300]!r}", answer.status_code, answer.text)


def described(operation: Any, report: Report, seed: int) -> None:
    """A few requests that schemathesis makes of a route's description."""
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    for mode in modes:

        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=5, database=None, deadline=None, derandomize=False,
                             suppress_health_check=list(HealthCheck), phases=(hypothesis.Phase.generate,))
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            answer = case.call(headers=DEADLINE, timeout=60)
            report.add(f"{operation.label} {case.body!r}", answer.status_code, answer.text)

        try:
            ask()
        except hypothesis.errors.Unsatisfiable:
            continue          # nothing of this kind can be made, as of a route without a body
        except OSError as error:
            report.faults.setdefault(f"{operation.label}: {type(error).__name__}: {error}")


def check_answers(server: Server, is_done: threading.Event, report: Report) -> None:
    """Asks one question again and again: each answer must have the first one's tokens, and /health be 200."""
    first: Any = None
    with httpx.Client(base_url=server.url, timeout=120) as client:
        while not is_done.is_set():
            found = attempt(lambda: client.post("/v1/completions", json=QUESTION).json()["choices"][0]["token_ids"])
            first = first or found
            if found != first:
                report.faults.setdefault(f"another answer: {str(found)[:300]}")
            if attempt(lambda: client.get("/health").status_code) != 200:
                report.faults.setdefault("/health was not 200")
            report.num_checks += 1
            is_done.wait(0.05)


def attempt(call: Callable[[], Any]) -> Any:
    """The call's result; the text of its error if it fails."""
    try:
        return call()
    except (httpx.HTTPError, LookupError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with serving() as server:
        report = run(server, seconds=options.seconds, seed=options.seed)
    print(dict(report.statuses), f"{report.num_checks} checks", *report.faults, sep="\n")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())

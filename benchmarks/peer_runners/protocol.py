"""What `peers.py` and the runners say to each other: one JSON object a line, on the runner's stdin and stdout.

The first line is a `Setup`; the runner starts its engine and answers `{"version": …}`. Each further line is
`{"prompts": [[token ids], …], "output_len": n}`: all prompts come at once, each is to get exactly n tokens, greedily,
whatever token ends a text. The runner answers `{"seconds": …, "first_token_seconds": …, "num_tokens": …}`: times from
submitting to the last token, and to the moment when every sequence had its first; the tokens that were generated. It
ends when stdin does. An error is the runner's traceback on stderr and its exit code.

Standard library only: every runner runs in its engine's own Python.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What an engine is started with.

    model: path in the engine's own format. max_len: tokens of the longest sequence; max_total_len: of all sequences
    that run at once. max_batch: sequences at once. program: the engine's executable, None where there is none.
    quantization: how to quantize at load, None: as the model's files are.
    """

    model: str
    num_threads: int
    max_len: int
    max_total_len: int
    max_batch: int
    program: str | None = None
    quantization: str | None = None


@dataclass(slots=True)
class Times:
    """Of one call: seconds to the last token, seconds until each sequence had one, tokens generated in all."""

    seconds: float
    first_token_seconds: float
    num_tokens: int


class Engine(Protocol):
    """A peer that has been started. `version` names it."""

    version: str

    def generate(self, prompts: Sequence[list[int]], output_len: int) -> Times:
        """Run all prompts at once, to exactly `output_len` tokens each."""

    def close(self) -> None:
        """End what it started."""


def serve(start: Callable[[Setup], Engine]) -> None:
    """Answer stdin until it ends. What the engine itself prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    lines = iter(sys.stdin.readline, "")
    engine = start(Setup(**json.loads(next(lines))))
    try:
        answer(answers, {"version": engine.version})
        for line in lines:
            request = json.loads(line)
            times = engine.generate(request["prompts"], request["output_len"])
            answer(answers, {"seconds": times.seconds, "first_token_seconds": times.first_token_seconds,
                             "num_tokens": times.num_tokens})
    finally:
        engine.close()


def answer(file, content: dict[str, object]) -> None:
    """One line."""
    file.write(json.dumps(content) + "\n")
    file.flush()


class FirstTokens:
    """Watches the tokens of some sequences come, and says when each had one."""

    def __init__(self, num_seqs: int) -> None:
        self._waiting = num_seqs
        self._start = time.perf_counter()
        self._first = 0.0
        self._counts = [0] * num_seqs

    def add(self, seq: int, num_tokens: int) -> None:
        """A sequence has so many tokens more."""
        if num_tokens and not self._counts[seq]:
            self._waiting -= 1
            if not self._waiting:
                self._first = time.perf_counter() - self._start
        self._counts[seq] += num_tokens

    def times(self) -> Times:
        """Now that all have ended."""
        return Times(time.perf_counter() - self._start, self._first, sum(self._counts))

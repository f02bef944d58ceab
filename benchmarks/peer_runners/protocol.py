"""The protocol between `peers.py` and the runners: one JSON object a line, on the runner's stdin and stdout.

The first line is a `Setup`; the runner starts its engine and answers `{"version": …}`. Each further line is
`{"prompts": [[token ids], …], "output_len": n}`: all prompts are submitted at once, and each gets exactly n tokens,
sampled greedily, with end-of-text tokens ignored. The runner answers `{"seconds": …, "first_token_seconds": …,
"num_tokens": …}`: seconds from submitting to the last token, seconds until every sequence had its first token, and the
number of generated tokens. The runner ends when stdin ends. On an error it writes a traceback to stderr and exits.

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
    """The settings for starting an engine.

    model: path of the model in the engine's format. max_len: tokens of the longest sequence; max_total_len: tokens of
    all sequences that run at once. max_batch: number of sequences that run at once. program: the engine's executable,
    or None. quantization: how to quantize at load; None: not. activation_dtype: as weft's option.
    """

    model: str
    num_threads: int
    max_len: int
    max_total_len: int
    max_batch: int
    program: str | None = None
    quantization: str | None = None
    activation_dtype: str | None = None


@dataclass(slots=True)
class Times:
    """Times of one call: seconds to the last token, seconds until each sequence had a token, and all tokens generated.
    """

    seconds: float
    first_token_seconds: float
    num_tokens: int


class Engine(Protocol):
    """A started peer. version: its name and version."""

    version: str

    def generate(self, prompts: Sequence[list[int]], output_len: int) -> Times:
        """Run all prompts at once, to exactly `output_len` tokens each."""

    def close(self) -> None:
        """Stop the engine."""


def serve(start: Callable[[Setup], Engine]) -> None:
    """Answer the lines of stdin until it ends. Output of the engine itself goes to stderr."""
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
    """Write one line of JSON."""
    file.write(json.dumps(content) + "\n")
    file.flush()


class FirstTokens:
    """Counts the tokens of several sequences, and records the time at which every one had its first token."""

    def __init__(self, num_seqs: int) -> None:
        self._waiting = num_seqs
        self._start = time.perf_counter()
        self._first = 0.0
        self._counts = [0] * num_seqs

    def add(self, seq: int, num_tokens: int) -> None:
        """A sequence has got more tokens."""
        if num_tokens and not self._counts[seq]:
            self._waiting -= 1
            if not self._waiting:
                self._first = time.perf_counter() - self._start
        self._counts[seq] += num_tokens

    def times(self) -> Times:
        """The times, once all sequences have ended."""
        return Times(time.perf_counter() - self._start, self._first, sum(self._counts))

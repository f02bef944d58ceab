"""Makes requests of random tokens, equal for equal seeds, and the pauses between requests."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from weft.cli.parser import Parser
from weft.config.flags import human_int
from weft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Job:
    """One request. output_len: the number of tokens to generate."""

    prompt_token_ids: list[int]
    output_len: int


def add_lengths(parser: Parser, *, input_len: int, output_len: int) -> None:
    """Adds --input-len, --output-len and --workload-seed."""
    parser.add_argument("--input-len", type=human_int, default=input_len, metavar="N",
                        help=f"tokens of a prompt (default: {input_len})")
    parser.add_argument("--output-len", type=human_int, default=output_len, metavar="N",
                        help=f"tokens to generate (default: {output_len})")
    parser.add_argument("--workload-seed", type=human_int, default=0, metavar="N",
                        help="seed of the random prompts (default: 0)")


def add_spread(parser: Parser) -> None:
    """Adds --range-ratio."""
    parser.add_argument("--range-ratio", type=float, default=0.0, metavar="X",
                        help="lengths vary by this share to both sides, 0 to below 1 (default: 0)")


def random_jobs(vocabulary: Sequence[Any], count: int, *, input_len: int, output_len: int, range_ratio: float = 0.0,
                seed: int = 0) -> list[Job]:
    """`count` requests of tokens (ids, or words) drawn from `vocabulary`.

    Lengths are uniform in length * (1 ± range_ratio).
    """
    for name, value in (("--input-len", input_len), ("--output-len", output_len), ("--num-prompts", count)):
        if value < 1:
            raise ConfigError(name, value, expected="at least 1")
    if not 0 <= range_ratio < 1:
        raise ConfigError("--range-ratio", range_ratio, expected="from 0 to below 1")
    draw = random.Random(seed)
    return [Job(draw.choices(vocabulary, k=_length(draw, input_len, range_ratio)),
                _length(draw, output_len, range_ratio)) for _ in range(count)]


def pauses(rate: float, *, burstiness: float = 1.0, seed: int = 0) -> Iterator[float]:
    """An endless iterator of pauses between requests, in seconds: gamma-distributed, with mean 1 / `rate`.

    burstiness: 1 gives Poisson arrivals, a smaller value more bursts, a larger one more even pauses. An infinite rate
    gives pauses of 0.
    """
    if not rate > 0:
        raise ConfigError("--request-rate", rate, expected="a number above 0, or inf")
    if not 0 < burstiness < float("inf"):
        raise ConfigError("--burstiness", burstiness, expected="a number above 0")
    draw = random.Random(seed)
    while True:
        yield 0.0 if rate == float("inf") else draw.gammavariate(burstiness, 1 / (rate * burstiness))


def _length(draw: random.Random, length: int, range_ratio: float) -> int:
    return max(1, draw.randint(round(length * (1 - range_ratio)), round(length * (1 + range_ratio))))

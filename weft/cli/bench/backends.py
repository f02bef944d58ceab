"""`weft bench backends`: one model by weft's own description and through Transformers, side by side.

Both engines are open at once and take turns, so that a change of the machine's speed meets both alike.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from weft.cli.bench.report import add_report_options, check_report_options, report
from weft.cli.bench.workload import Job, random_jobs
from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser
from weft.config.flags import human_int
from weft.errors import ConfigError

IMPLS = ("native", "transformers")


def add_arguments(parser: Parser) -> None:
    """Workload, report and engine options."""
    parser.usage = "weft bench backends [MODEL] [options]"
    parser.add_argument("--prefill-len", type=human_int, default=512, metavar="N",
                        help="tokens of the prompt whose prefill is measured (default: 512)")
    parser.add_argument("--decode-batches", type=_sizes, default=(1, 32), metavar="N,N",
                        help="sequences that decode together (default: 1,32)")
    parser.add_argument("--decode-len", type=human_int, default=32, metavar="N",
                        help="decode steps of a measurement (default: 32)")
    parser.add_argument("--num-iters", type=human_int, default=5, metavar="N",
                        help="rounds that count, after one that does not (default: 5)")
    parser.add_argument("--workload-seed", type=human_int, default=0, metavar="N",
                        help="seed of the random prompts (default: 0)")
    add_report_options(parser)
    add_engine_options(parser, positional_model=True)


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.split(",") if part.isdigit())
    if not sizes or min(sizes) < 1 or len(sizes) != len(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers of sequences, as 1,32")
    return sizes


def run(options: argparse.Namespace) -> int:
    """Measure and print: seconds of each, and the ratio of the medians."""
    check_report_options(options)
    for name in ("num_iters", "decode_len", "prefill_len"):
        if getattr(options, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')}", getattr(options, name), expected="at least 1")
    from weft.cli.bench.engine import open_llm

    args = engine_args(options)
    with (open_llm(replace(args, model_impl="native")) as native,
          open_llm(replace(args, model_impl="transformers")) as other):
        samples = measure({"native": native.times, "transformers": other.times}, options, native.vocabulary)
        name, level = other.name, other.model_level()
    totals = {}
    for what in dict.fromkeys(key[1] for key in samples):
        ours, theirs = (statistics.median(samples[impl, what]) for impl in IMPLS)
        totals[f"{what}: time of transformers / native"] = theirs / ours
    report(options, title=f"{name}: native and transformers ({level})", totals=totals,
           samples={f"{what}, {impl} (ms)": [1000 * value for value in values]
                    for (impl, what), values in samples.items()})
    return 0


def measure(engines: dict[str, Callable[[list[Job]], tuple[float, float]]], options: Any,
            vocabulary: Iterable[int]) -> dict[tuple[str, str], list[float]]:
    """{(engine, what): seconds of each counted round}; in each round the engines take turns in another order.

    engines: run jobs at once and return (seconds to the last first token, seconds from there to the end).
    """
    samples: dict[tuple[str, str], list[float]] = {}
    kinds = {f"prefill of {options.prefill_len} tokens": (1, options.prefill_len, 1)}
    kinds |= {f"decode step of {size}": (size, 16, options.decode_len + 1) for size in options.decode_batches}
    for number in range(options.num_iters + 1):
        for what, (size, input_len, output_len) in kinds.items():
            jobs = random_jobs(list(vocabulary), size, input_len=input_len, output_len=output_len,
                               seed=options.workload_seed + 1000 * number)
            for name in list(engines)[:: 1 if number % 2 else -1]:
                first, rest = engines[name](jobs)
                if number:
                    seconds = first if output_len == 1 else rest / options.decode_len
                    samples.setdefault((name, what), []).append(seconds)
    return dict(sorted(samples.items(), key=lambda item: (list(kinds).index(item[0][1]), IMPLS.index(item[0][0]))))

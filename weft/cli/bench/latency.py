"""`weft bench latency`: measures the time of one batch of equally long requests, in several rounds.

Each round has new prompts, so that the prefix cache has no hits.
"""

from __future__ import annotations

import argparse
import statistics
import time

from weft.cli.bench.report import add_report_options, check_report_options, report
from weft.cli.bench.workload import Job, add_lengths, random_jobs
from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser
from weft.config.flags import human_int
from weft.errors import ConfigError


def add_arguments(parser: Parser) -> None:
    """Workload, report and engine options."""
    parser.usage = "weft bench latency [MODEL] [options]"
    add_lengths(parser, input_len=32, output_len=128)
    parser.add_argument("--batch-size", type=human_int, default=8, metavar="N", help="requests of a batch (default: 8)")
    parser.add_argument("--num-iters-warmup", type=human_int, default=2, metavar="N",
                        help="rounds that do not count (default: 2)")
    parser.add_argument("--num-iters", type=human_int, default=10, metavar="N", help="rounds that count (default: 10)")
    add_report_options(parser)
    add_engine_options(parser, positional_model=True)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    check_report_options(options)
    if options.num_iters < 1:
        raise ConfigError("--num-iters", options.num_iters, expected="at least 1")
    from weft.cli.bench.engine import open_llm

    with open_llm(engine_args(options)) as bench:
        rounds = options.num_iters_warmup + options.num_iters
        jobs = random_jobs(bench.vocabulary, rounds * options.batch_size, input_len=options.input_len,
                           output_len=options.output_len, seed=options.workload_seed)
        seconds = []
        for i in range(rounds):
            batch: list[Job] = jobs[i * options.batch_size:(i + 1) * options.batch_size]
            start = time.perf_counter()
            bench.generate(batch)
            seconds.append(time.perf_counter() - start)
    counted = seconds[options.num_iters_warmup:]
    report(options, title=f"Latency of a batch of {options.batch_size} × ({options.input_len} + {options.output_len} "
                          f"tokens), {bench.name}",
           totals={"output tokens/s at the median":
                   options.batch_size * options.output_len / statistics.median(counted)},
           samples={"batch latency (ms)": [1000 * s for s in counted]})
    return 0

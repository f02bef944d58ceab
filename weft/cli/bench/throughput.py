"""`weft bench throughput`: measures tokens per second with many requests at once."""

from __future__ import annotations

import argparse
import time

from weft.cli.bench.report import add_report_options, check_report_options, report
from weft.cli.bench.workload import add_lengths, add_spread, random_jobs
from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser
from weft.config.flags import human_int


def add_arguments(parser: Parser) -> None:
    """Workload, report and engine options."""
    parser.usage = "weft bench throughput [MODEL] [options]"
    add_lengths(parser, input_len=256, output_len=128)
    add_spread(parser)
    parser.add_argument("--num-prompts", type=human_int, default=100, metavar="N", help="requests (default: 100)")
    parser.add_argument("--num-warmups", type=human_int, default=4, metavar="N",
                        help="requests before them that do not count (default: 4)")
    add_report_options(parser)
    add_engine_options(parser, positional_model=True)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    check_report_options(options)
    from weft.cli.bench.engine import open_llm

    with open_llm(engine_args(options)) as bench:
        jobs = random_jobs(bench.vocabulary, options.num_warmups + options.num_prompts, input_len=options.input_len,
                           output_len=options.output_len, range_ratio=options.range_ratio, seed=options.workload_seed)
        warmups, counted = jobs[:options.num_warmups], jobs[options.num_warmups:]
        if warmups:
            bench.generate(warmups)
        start = time.perf_counter()
        latencies = bench.generate(counted)
        elapsed = time.perf_counter() - start
    prompt_tokens, output_tokens = sum(len(j.prompt_token_ids) for j in counted), sum(j.output_len for j in counted)
    report(options, title=f"Throughput of {options.num_prompts} requests, {bench.name}",
           totals={"duration (s)": elapsed, "prompt tokens": prompt_tokens, "output tokens": output_tokens,
                   "requests/s": options.num_prompts / elapsed, "output tokens/s": output_tokens / elapsed,
                   "total tokens/s": (prompt_tokens + output_tokens) / elapsed},
           samples={"request latency (s)": latencies})
    return 0

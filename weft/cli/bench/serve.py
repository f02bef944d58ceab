"""`weft bench serve`: measures a running OpenAI-compatible server from a client's side.

A request that the server refuses for want of a place (status 429) counts as refused, not as failed. Where /metrics has
the processor time of the HTTP process, the report says how much of that time an output token cost.

Prompts are random tokens, drawn from those that the server's /tokenize returns for a sample text, so all are valid
there. For a server without that route prompts are random words.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time

import httpx

from weft.cli.bench.client import Client, Result
from weft.cli.bench.report import add_report_options, check_report_options, report
from weft.cli.bench.workload import Job, add_lengths, add_spread, pauses, random_jobs
from weft.cli.environment import api_key
from weft.cli.parser import Parser
from weft.config.flags import human_int

DEFAULT_URL = "http://127.0.0.1:8000"


def add_arguments(parser: Parser) -> None:
    """The server and the workload."""
    parser.add_argument("--base-url", default=DEFAULT_URL, metavar="URL", help=f"the server (default: {DEFAULT_URL})")
    parser.add_argument("--model-name", metavar="NAME", help="which of its models (default: its first)")
    parser.add_argument("--api-key", metavar="KEY", help="the server's key (default: WEFT_API_KEY)")
    parser.add_argument("--num-prompts", type=human_int, default=100, metavar="N", help="requests (default: 100)")
    parser.add_argument("--num-warmups", type=human_int, default=4, metavar="N",
                        help="requests before them that do not count (default: 4)")
    parser.add_argument("--request-rate", type=float, default=float("inf"), metavar="X",
                        help="requests sent in a second (default: inf, all at once)")
    parser.add_argument("--burstiness", type=float, default=1.0, metavar="X",
                        help="1: Poisson arrivals; smaller: bursts; larger: even (default: 1)")
    parser.add_argument("--max-concurrency", type=human_int, metavar="N", help="most requests at the same time")
    parser.add_argument("--no-ignore-eos", dest="ignore_eos", action="store_false",
                        help="let answers end before --output-len")
    add_lengths(parser, input_len=256, output_len=128)
    add_spread(parser)
    add_report_options(parser)


def run(options: argparse.Namespace) -> int:
    """Measure and print. Exit status 1 if a request failed."""
    check_report_options(options)
    results, elapsed, model, http_cpu = asyncio.run(_measure(options))
    good = [result for result in results if result.error is None]
    failed = [result for result in results if result.error is not None and not result.is_refused]
    prompt_tokens, output_tokens = (sum(getattr(r, name) for r in good) for name in ("prompt_tokens", "output_tokens"))
    http = {} if http_cpu is None or not output_tokens else {"HTTP CPU (us/token)": 1e6 * http_cpu / output_tokens}
    rate = "at once" if options.request_rate == float("inf") else f"at {options.request_rate:g}/s"
    report(options, title=f"{len(results)} requests {rate}, {model} at {options.base_url}",
           totals={"requests answered": len(good), "requests refused": len(results) - len(good) - len(failed),
                   "requests failed": len(failed),
                   "duration (s)": elapsed, "prompt tokens": prompt_tokens, "output tokens": output_tokens,
                   "requests/s": len(good) / elapsed, "output tokens/s": output_tokens / elapsed,
                   "total tokens/s": (prompt_tokens + output_tokens) / elapsed, **http},
           samples={"TTFT (ms)": [1000 * r.ttft for r in good],
                    "TPOT (ms)": [1000 * r.tpot for r in good if r.output_tokens > 1],
                    "ITL (ms)": [1000 * gap for r in good for gap in r.gaps],
                    "E2EL (ms)": [1000 * r.latency for r in good]})
    errors = dict.fromkeys(result.error for result in failed)
    for error in errors:
        print(f"\nfailed: {error}")
    return 1 if errors else 0


async def _measure(options: argparse.Namespace) -> tuple[list[Result], float, str, float | None]:
    """The results, the seconds that they took, the model's name, the HTTP process' processor time in seconds."""
    key = options.api_key or api_key(os.environ)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with Client(options.base_url, api_key=key, model_name=options.model_name, limits=limits) as client:
        vocabulary = await client.vocabulary()
        jobs = random_jobs(vocabulary, options.num_warmups + options.num_prompts, input_len=options.input_len,
                           output_len=options.output_len, range_ratio=options.range_ratio, seed=options.workload_seed)
        warmups, counted = jobs[:options.num_warmups], jobs[options.num_warmups:]
        await asyncio.gather(*(client.answer(job, ignore_eos=options.ignore_eos) for job in warmups))
        cpu, start = await client.http_cpu_seconds(), time.perf_counter()
        results = await _send(client, counted, options)
        elapsed, cpu_after = time.perf_counter() - start, await client.http_cpu_seconds()
        return results, elapsed, client.model, None if cpu is None or cpu_after is None else cpu_after - cpu


async def _send(client: Client, jobs: list[Job], options: argparse.Namespace) -> list[Result]:
    free = asyncio.Semaphore(options.max_concurrency or len(jobs))

    async def one(job: Job) -> Result:
        async with free:
            return await client.answer(job, ignore_eos=options.ignore_eos)

    tasks = []
    for job, pause in zip(jobs, pauses(options.request_rate, burstiness=options.burstiness, seed=options.workload_seed),
                          strict=False):
        if tasks:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(one(job)))
    return list(await asyncio.gather(*tasks))

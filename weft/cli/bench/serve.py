"""`weft bench serve`: measures a running OpenAI-compatible server from a client's side.

A request that the server refuses for want of a place (status 429) counts as refused, not as failed. Where /metrics has
the processor time of the HTTP process, the report says how much of that time an output token cost.

Prompts are random tokens, drawn from those that the server's /tokenize returns for a sample text, so all are valid
there. For a server without that route, and for a ranking, prompts are random words. Completions are measured,
embeddings, or rankings of documents.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import httpx

from weft.cli.bench.client import SAMPLE_TEXT, Client, Result
from weft.cli.bench.report import add_report_options, check_report_options, report
from weft.cli.bench.workload import Job, add_lengths, add_spread, pauses, random_jobs
from weft.cli.environment import api_key
from weft.cli.parser import Parser
from weft.config.flags import human_int
from weft.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8000"
# Backend, by vLLM's name -> the route that it measures.
ENDPOINTS = {"openai": "/v1/completions", "openai-embeddings": "/v1/embeddings", "vllm-rerank": "/v1/rerank"}
KINDS = {backend: path.rpartition("/")[2] for backend, path in ENDPOINTS.items()}      # the last part of its routes


def add_arguments(parser: Parser) -> None:
    """The server and the workload."""
    parser.add_argument("--base-url", default=DEFAULT_URL, metavar="URL", help=f"the server (default: {DEFAULT_URL})")
    parser.add_argument("--model-name", metavar="NAME", help="which of its models (default: its first)")
    parser.add_argument("--api-key", metavar="KEY", help="the server's key (default: WEFT_API_KEY)")
    parser.add_argument("--backend", choices=ENDPOINTS, default=None, help="openai: completions; openai-embeddings; "
                        "vllm-rerank (default: as --endpoint says, else openai)")
    parser.add_argument("--endpoint", metavar="PATH", help="the route to measure (default: the backend's)")
    parser.add_argument("--batch-size", type=human_int, default=1, metavar="N",
                        help="texts of a request for embeddings, documents of one for a ranking (default: 1)")
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
    backend, _ = target(options)
    results, elapsed, model, http_cpu = asyncio.run(_measure(options))
    good = [result for result in results if result.error is None]
    failed = [result for result in results if result.error is not None and not result.is_refused]
    rate = "at once" if options.request_rate == float("inf") else f"at {options.request_rate:g}/s"
    totals = {"requests answered": len(good), "requests refused": len(results) - len(good) - len(failed),
              "requests failed": len(failed), "duration (s)": elapsed, "requests/s": len(good) / elapsed}
    more = _of_answers(good, elapsed, http_cpu) if backend == "openai" else _of_texts(good, elapsed)
    report(options, title=f"{len(results)} requests {rate}, {model} at {options.base_url}", totals=totals | more,
           samples={"TTFT (ms)": [1000 * r.ttft for r in good if r.output_tokens],
                    "TPOT (ms)": [1000 * r.tpot for r in good if r.output_tokens > 1],
                    "ITL (ms)": [1000 * gap for r in good for gap in r.gaps],
                    "E2EL (ms)": [1000 * r.latency for r in good]})
    errors = dict.fromkeys(result.error for result in failed)
    for error in errors:
        print(f"\nfailed: {error}")
    return 1 if errors else 0


def target(options: argparse.Namespace) -> tuple[str, str]:
    """(backend, route) of the options. ConfigError for a route that the backend does not speak."""
    path = options.endpoint
    if path is not None and not path.startswith("/"):
        raise ConfigError("--endpoint", path, expected="a path, as /v1/embeddings")
    named = (backend for backend, kind in KINDS.items() if path and path.endswith(f"/{kind}"))
    backend = options.backend or next(named, "openai")
    path, kind = path or ENDPOINTS[backend], KINDS[backend]
    if not path.endswith(f"/{kind}") or path.endswith("/chat/completions"):
        raise ConfigError("--endpoint", path, expected=f"a route of {kind} with the backend {backend}")
    if options.batch_size < 1 or (options.batch_size > 1 and backend == "openai"):
        raise ConfigError("--batch-size", options.batch_size, expected="at least 1, and 1 for completions")
    return backend, path


def _of_answers(good: list[Result], elapsed: float, http_cpu: float | None) -> dict[str, float]:
    """The totals of completions."""
    prompt_tokens, output_tokens = (sum(getattr(r, name) for r in good) for name in ("prompt_tokens", "output_tokens"))
    http = {} if http_cpu is None or not output_tokens else {"HTTP CPU (us/token)": 1e6 * http_cpu / output_tokens}
    return {"prompt tokens": prompt_tokens, "output tokens": output_tokens, "output tokens/s": output_tokens / elapsed,
            "total tokens/s": (prompt_tokens + output_tokens) / elapsed, **http}


def _of_texts(good: list[Result], elapsed: float) -> dict[str, float]:
    """The totals of embeddings, or of ranked documents."""
    texts, tokens = sum(r.num_texts for r in good), sum(r.prompt_tokens for r in good)
    return {"texts": texts, "prompt tokens": tokens, "texts/s": texts / elapsed, "prompt tokens/s": tokens / elapsed}


async def _measure(options: argparse.Namespace) -> tuple[list[Result], float, str, float | None]:
    """The results, the seconds that they took, the model's name, the HTTP process' processor time in seconds."""
    key, (backend, endpoint) = options.api_key or api_key(os.environ), target(options)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with Client(options.base_url, api_key=key, model_name=options.model_name, limits=limits,
                      endpoint=endpoint) as client:
        async def ask(jobs: list[Job]) -> Result:
            if backend == "openai-embeddings":
                return await client.embed(jobs)
            if backend == "vllm-rerank":
                return await client.rank(jobs)
            return await client.answer(jobs[0], ignore_eos=options.ignore_eos)

        vocabulary = SAMPLE_TEXT.split() if backend == "vllm-rerank" else await client.vocabulary()
        size = options.batch_size
        jobs = random_jobs(vocabulary, (options.num_warmups + options.num_prompts) * size, input_len=options.input_len,
                           output_len=options.output_len, range_ratio=options.range_ratio, seed=options.workload_seed)
        requests = [jobs[first: first + size] for first in range(0, len(jobs), size)]
        warmups, counted = requests[:options.num_warmups], requests[options.num_warmups:]
        await asyncio.gather(*map(ask, warmups))
        cpu, start = await client.http_cpu_seconds(), time.perf_counter()
        results = await _send(ask, counted, options)
        elapsed, cpu_after = time.perf_counter() - start, await client.http_cpu_seconds()
        return results, elapsed, client.model, None if cpu is None or cpu_after is None else cpu_after - cpu


async def _send(ask: Callable[[list[Job]], Awaitable[Result]], requests: list[list[Job]],
                options: argparse.Namespace) -> list[Result]:
    free = asyncio.Semaphore(options.max_concurrency or len(requests))

    async def one(jobs: list[Job]) -> Result:
        async with free:
            return await ask(jobs)

    tasks, waits = [], pauses(options.request_rate, burstiness=options.burstiness, seed=options.workload_seed)
    for jobs, pause in zip(requests, waits, strict=False):
        if tasks:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(one(jobs)))
    return list(await asyncio.gather(*tasks))

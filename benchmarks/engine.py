"""What an engine does with one checkpoint: start, memory, prefill, single decode, and 32 requests at once.

    python benchmarks/make_checkpoint.py qwen3-0.6b /tmp/qwen3-0.6b
    python benchmarks/engine.py /tmp/qwen3-0.6b

The goals in the table are those of a 0.6B bfloat16 model on two cores. Run it on a machine that does nothing else; the
files should have been read once before (run it twice). Prompts are random tokens from a fixed seed, none repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from weft import LLM, RequestOutput, SamplingParams
from weft.cli.bench.workload import Job, random_jobs
from weft.cli.tables import human_bytes, print_table
from weft.layers.linear import Linear
from weft.models.decoder import Decoder

FIRST_TOKEN = """
import sys
from weft import LLM, SamplingParams
llm = LLM(sys.argv[1], use_tqdm_on_load=False)
llm.generate([{"prompt_token_ids": [5, 6, 7, 8]}], SamplingParams(max_tokens=1, detokenize=False), use_tqdm=False)
print("first token", flush=True)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--num-threads", type=int)
    parser.add_argument("--rounds", type=int, default=3, help="medians are of this many rounds")
    parser.add_argument("--prefill-len", type=int, default=512)
    parser.add_argument("--decode-len", type=int, default=64)
    parser.add_argument("--num-requests", type=int, default=32)
    parser.add_argument("--output-len", type=int, default=128)
    parser.add_argument("--kv-cache-memory-bytes", type=int, default=3 << 29,
                        help="small enough to fill, so that the peak means something")
    parser.add_argument("--output-json", type=Path)
    options = parser.parse_args()
    results = {"start to first token (s)": (start_to_first_token(options.checkpoint, options.rounds), "at most 5")}
    llm = LLM(options.checkpoint, num_threads=options.num_threads, use_tqdm_on_load=False,
              kv_cache_memory_bytes=options.kv_cache_memory_bytes)
    vocabulary = range(llm.config.model.vocab_size)
    run(llm, random_jobs(vocabulary, 2, input_len=64, output_len=4, seed=1))
    results["prefill (tokens/s)"] = prefill(llm, vocabulary, options), "at least 800"
    bound = llm.apply_model(lambda model: product_rate(model, options.prefill_len))[0]
    results["  of its matrix products alone"] = results["prefill (tokens/s)"][0] / bound, ""
    results["single decode (tokens/s)"] = single_decode(llm, vocabulary, options), "at least 10"
    bound = llm.apply_model(lambda model: product_rate(model, 1))[0]
    results["  of reading the weights alone"] = results["single decode (tokens/s)"][0] / bound, ""
    results[f"{options.num_requests} requests (output tokens/s)"] = mixed(llm, vocabulary, options), "at least 100"
    plan = llm.collective_rpc("memory_plan")[0]
    planned = plan["weight_bytes"] + plan["activation_bytes"] + plan["kv_cache_bytes"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    results["peak memory / plan"] = peak / planned, "at most 1.15"
    rows = [(name, f"{value:,.2f}", goal) for name, (value, goal) in results.items()]
    print_table(("measured", "value", "goal"), rows, right=("value",),
                title=f"{options.checkpoint}, {llm.config.model.dtype}, {llm.config.num_threads} threads")
    print(f"\npeak {human_bytes(peak)}; plan {human_bytes(planned)}: weights {human_bytes(plan['weight_bytes'])}, "
          f"activations {human_bytes(plan['activation_bytes'])}, cache {human_bytes(plan['kv_cache_bytes'])}")
    if options.output_json:
        values = {name: value for name, (value, _) in results.items()}
        options.output_json.write_text(json.dumps(values, indent=2) + "\n")
    llm.close()


def start_to_first_token(checkpoint: str, rounds: int) -> float:
    """Seconds from starting a Python process to its first token, the median."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", FIRST_TOKEN, checkpoint], stdout=subprocess.PIPE, text=True,
                              env=os.environ) as process:
            if not process.stdout.readline():
                raise SystemExit("the first token did not come")
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def run(llm: LLM, jobs: Sequence[Job]) -> list[RequestOutput]:
    """Run requests to their full length, greedily."""
    params = [SamplingParams(temperature=0.0, max_tokens=job.output_len, ignore_eos=True, detokenize=False)
              for job in jobs]
    return llm.generate([{"prompt_token_ids": job.prompt_token_ids} for job in jobs], params, use_tqdm=False)


def product_rate(model: Decoder, num_tokens: int) -> float:
    """Tokens a second of the model's matrix products and nothing else: the bound that the engine runs against."""
    linears = [module for module in model.modules() if isinstance(module, Linear)]
    inputs = {linear.weight.shape[1]: torch.randn(num_tokens, linear.weight.shape[1]).to(model.dtype)
              for linear in linears}
    seconds = []
    with torch.inference_mode():
        for _ in range(5):
            start = time.perf_counter()
            for linear in linears:
                rows = inputs[linear.weight.shape[1]]
                linear(rows[:1] if linear is model.head.linear else rows)
            seconds.append(time.perf_counter() - start)
    return num_tokens / statistics.median(seconds)


def prefill(llm: LLM, vocabulary: range, options: argparse.Namespace) -> float:
    """Prompt tokens a second, one long prompt at a time, its first output token included."""
    rates = []
    for job in random_jobs(vocabulary, options.rounds, input_len=options.prefill_len, output_len=1, seed=2):
        start = time.perf_counter()
        run(llm, [job])
        rates.append(options.prefill_len / (time.perf_counter() - start))
    return statistics.median(rates)


def single_decode(llm: LLM, vocabulary: range, options: argparse.Namespace) -> float:
    """Tokens a second of one request alone, after its first token."""
    rates = []
    for job in random_jobs(vocabulary, options.rounds, input_len=64, output_len=options.decode_len, seed=3):
        metrics = run(llm, [job])[0].metrics
        rates.append((options.decode_len - 1) / (metrics.last_token_time - metrics.first_token_time))
    return statistics.median(rates)


def mixed(llm: LLM, vocabulary: range, options: argparse.Namespace) -> float:
    """Output tokens a second of requests that come at once, prompts of 64 to 512 tokens. One round: it is long."""
    lengths = [64 + 448 * i // max(1, options.num_requests - 1) for i in range(options.num_requests)]
    jobs = [random_jobs(vocabulary, 1, input_len=length, output_len=options.output_len, seed=10 + i)[0]
            for i, length in enumerate(lengths)]
    start = time.perf_counter()
    run(llm, jobs)
    return len(jobs) * options.output_len / (time.perf_counter() - start)


if __name__ == "__main__":
    main()

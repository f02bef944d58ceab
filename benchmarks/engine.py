"""Measures weft with one model; the table shows each value beside its goal and the limit of this machine.

    python benchmarks/make_checkpoint.py qwen3-0.6b /tmp/qwen3-0.6b
    python benchmarks/engine.py /tmp/qwen3-0.6b
    python benchmarks/engine.py /tmp/qwen3-0.6b --quantization int4 --rows prefill-512,decode-512

Rows: time from start to first token of a new process (warm file cache), the workloads of `workloads.py`, and the peak
memory against the memory plan. `limit` is the highest rate that this machine allows for the row's work: from bytes and
operations (`limits.py`) and from bounds measured before and after the rows (`machine.py`). `of limit` is value / limit.
Goals in tokens a second are for the 0.6B shape on two cores with AMX; goals as fractions hold for any machine; a row
with `--shrink` has none. Values are medians of `--rounds`; memory is one number. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from limits import Limits, weights_of
from machine import BUFFER_BYTES, measure_apart, print_bounds
from workloads import Workload, batch, decode, prefill, shared

from weft import LLM, SamplingParams
from weft.architectures.registry import families
from weft.architectures.spec import DecoderSpec, MoESpec
from weft.cli.tables import print_table
from weft.config.human_bytes import human_bytes
from weft.config.machine import Machine
from weft.models.describe import describe
from weft.models.sizes import model_of, num_parameters

WORKLOADS = (prefill(512), prefill(4096), prefill(8192), decode(512), decode(16384), batch(8), batch(32), shared(32))
START, MEMORY = "start", "memory"
ROWS = (START, *(workload.key for workload in WORKLOADS), MEMORY)
GOAL_PARAMETERS = 596_049_920       # of the Qwen3-0.6B shape, which the goals in tokens a second are about
# {kind of weights: {row: (goal, of the limit)}}; None: no goal.
GOALS: dict[str, dict[str, tuple[float | None, float | None]]] = {
    "plain": {START: (3, None), MEMORY: (1.15, None), "prefill-512": (2000, 0.65), "prefill-4096": (None, 0.7),
              "prefill-8192": (1000, 0.65), "decode-512": (19.5, 0.9), "decode-16384": (7, 0.85),
              "batch-8": (None, 0.75), "batch-32": (200, 0.75), "shared-32": (300, 0.75)},
    "int4": {"decode-512": (50, 0.75)},
    "int8": {"decode-512": (32, 0.8)},
    "gguf": {"decode-512": (45, None), "prefill-512": (1500, None)},
    "moe": {"decode-512": (None, 0.75)},
    "other": {},
}
FIRST_TOKEN = """
import json, sys
from weft import LLM, SamplingParams
llm = LLM(sys.argv[1], use_tqdm_on_load=False, **json.loads(sys.argv[2]))
llm.generate([{"prompt_token_ids": [5, 6, 7, 8]}], SamplingParams(max_tokens=1, detokenize=False), use_tqdm=False)
print("first token", flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A row: the value of each round, and the machine's limit or None."""

    key: str
    title: str
    unit: str
    values: list[float]
    limit: float | None = None

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)


def main() -> None:
    """Measure and print."""
    options = parse_options()
    threads = options.num_threads or Machine.detect().num_cores.value
    before = measure_apart(threads, buffer_bytes=options.buffer_bytes)
    results = [start_to_first_token(options)] if START in options.rows else []
    llm = LLM(options.model, use_tqdm_on_load=False, **engine_options(options))
    model = llm.config.model
    spec, _ = describe(model, families()[model.architecture])
    weights = weights_of(spec, model.dtype, options.model, options.quantization)
    workloads = [workload for workload in WORKLOADS if workload.key in options.rows]
    rates = [run(llm, workload.shrunk(options.shrink), options.rounds) for workload in workloads]
    if MEMORY in options.rows:
        results.append(peak_memory(llm))
    llm.close()
    bounds = before.best(measure_apart(threads, buffer_bytes=options.buffer_bytes))
    limits = Limits(spec=spec, dtype=model.dtype, weights=weights, bounds=bounds,
                    int8_activations="int8" in (options.activation_dtype, llm.config.load.activation_dtype)
                    or options.quantization == "w8a8")
    for workload, values in zip(workloads, rates, strict=True):
        shrunk = workload.shrunk(options.shrink)
        unit = "output tokens/s" if workload.rate == "output" else "tokens/s"
        results.append(Result(key=workload.key, title=shrunk.title, unit=unit, values=values,
                              limit=limits.rate(shrunk)))
    results.sort(key=lambda result: ROWS.index(result.key))
    kind = weight_kind(spec, options)
    print_bounds(bounds)
    print()
    print_results(results, {} if options.shrink > 1 else GOALS[kind], num_parameters(model_of(spec)) == GOAL_PARAMETERS,
                  title=f"{options.model}, {model.dtype}, {kind} weights, {threads} threads")
    if options.output_json:
        content = {"options": vars(options), "bounds": asdict(bounds), "rows": [
            asdict(result) | {"value": result.value} for result in results]}
        options.output_json.write_text(json.dumps(content, indent=2, default=str) + "\n")


def parse_options() -> argparse.Namespace:
    """The command line, its rows checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a directory, a hub id or a GGUF file")
    parser.add_argument("--rows", default=",".join(ROWS), help="rows to measure, with commas (default: %(default)s)")
    parser.add_argument("--quantization", help="passed to the engine, e.g. int4 or int8")
    parser.add_argument("--activation-dtype", help="passed to the engine: int8")
    parser.add_argument("--num-threads", type=int)
    parser.add_argument("--rounds", type=int, default=3, help="values are medians of this many rounds")
    parser.add_argument("--shrink", type=int, default=1, help="divide all lengths by this, for a quick try")
    parser.add_argument("--kv-cache-memory-bytes", type=int, default=9 << 28,
                        help="enough for every row, small enough to fill, so that the peak means something")
    parser.add_argument("--buffer-bytes", type=int, default=BUFFER_BYTES, help="read to measure the bandwidth")
    parser.add_argument("--output-json", type=Path)
    options = parser.parse_args()
    options.rows = options.rows.split(",")
    unknown = [row for row in options.rows if row not in ROWS]
    if unknown:
        parser.error(f"--rows: no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return options


def engine_options(options: argparse.Namespace) -> dict[str, Any]:
    """Options of the engine besides the model."""
    given = {"num_threads": options.num_threads, "quantization": options.quantization,
             "activation_dtype": options.activation_dtype}
    return {"kv_cache_memory_bytes": options.kv_cache_memory_bytes} | {
        name: value for name, value in given.items() if value is not None}


def weight_kind(spec: DecoderSpec, options: argparse.Namespace) -> str:
    """The key of GOALS for this model."""
    if options.quantization:
        return options.quantization if options.quantization in GOALS else "other"
    if options.model.endswith(".gguf"):
        return "gguf"
    return "moe" if any(isinstance(block.ffn, MoESpec) for block in spec.blocks) else "plain"


def start_to_first_token(options: argparse.Namespace) -> Result:
    """Seconds from starting a Python process to its first token."""
    seconds = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", FIRST_TOKEN, options.model, json.dumps(engine_options(options))],
                              stdout=subprocess.PIPE, text=True) as process:
            if not process.stdout.readline():
                raise SystemExit("the first token did not come")
            seconds.append(time.perf_counter() - start)
    return Result(key=START, title="start to first token", unit="s", values=seconds)


def run(llm: LLM, workload: Workload, rounds: int) -> list[float]:
    """The workload's rate in each round, after one warm-up round."""
    values = []
    for i in range(rounds + 1):
        prompts = [{"prompt_token_ids": ids} for ids in workload.prompts(llm.config.model.vocab_size, i)]
        params = SamplingParams(temperature=0.0, max_tokens=workload.output_len, ignore_eos=True, detokenize=False)
        start = time.monotonic()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        short = [output for output in outputs if len(output.outputs[0].token_ids) != workload.output_len]
        if short:
            raise SystemExit(f"{workload.title}: {len(short)} requests ended before their length")
        values.append(workload.value(max(output.metrics.last_token_time for output in outputs) - start,
                                     max(output.metrics.first_token_time for output in outputs) - start))
    return values[1:]


def peak_memory(llm: LLM) -> Result:
    """Peak memory of this process, compared with the engine's plan."""
    plan = llm.collective_rpc("memory_plan")[0]
    planned = plan["weight_bytes"] + plan["activation_bytes"] + plan["kv_cache_bytes"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    title = f"peak memory / plan of {human_bytes(planned)}"
    return Result(key=MEMORY, title=title, unit="", values=[peak / planned])


def print_results(results: Sequence[Result], goals: Mapping[str, tuple[float | None, float | None]],
                  is_goal_shape: bool, title: str) -> None:
    """Print the table. Goals in tokens a second are shown only for the shape they are for; other goals always."""
    rows = []
    for result in results:
        goal, share_goal = goals.get(result.key, (None, None))
        word = "at most" if result.key in (START, MEMORY) else "at least"
        shown = goal is not None and (is_goal_shape or result.key == MEMORY)
        rows.append((result.title, f"{result.value:,.2f}", result.unit, f"{word} {goal:,}" if shown else "",
                     "" if result.limit is None else f"{result.limit:,.1f}",
                     "" if result.limit is None else f"{result.value / result.limit:.2f}",
                     "" if share_goal is None else f"{share_goal}"))
    print_table(("measured", "value", "unit", "goal", "limit", "of limit", "its goal"), rows, title=title,
                right=("value", "limit", "of limit", "its goal"))


if __name__ == "__main__":
    main()

"""Compares a programmed model with the described one of the same checkpoint, step by step in turns, in one process.

    python benchmarks/make_checkpoint.py llama-0.6b /tmp/llama-0.6b
    python benchmarks/programmed.py /tmp/llama-0.6b

Rows: a prefill of 512 tokens, decode steps of one sequence and of 32. The two engines take turns at every step, so that
both meet the same machine. Of two engines in one process the one that is built last is faster by up to a tenth, so both
orders are measured: each ratio is the median of neighbouring steps, the last column their geometric mean. The goal: at
most 3 % slower.
On a machine that others use, `--num-threads 1 --clock cpu` counts the processor's time in place of the clock's.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from weft import EngineArgs, SamplingParams
from weft.cli.tables import print_table
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.engine.core import EngineCore
from weft.engine.process.messages import EngineRequest
from weft.resolve.engine_config import resolve_engine_config

LLAMA = Path(__file__).parent.parent / "examples" / "programmed_llama.py"
FIRST_TOKEN_ID = 3      # below are the special tokens of make_checkpoint.py
SPARE = 32              # tokens generated while others of the batch are in prefill, and before the clock runs
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    """Measure and print."""
    options = parse_options()
    configs = [make_config(options, model_class) for model_class in (None, options.model_class)]
    pairs: dict[str, list[list[tuple[float, ...]]]] = {}
    for order in ((0, 1), (1, 0)):
        engines = [EngineCore(configs[i]) for i in order]
        for title, steps in cases(engines, range(FIRST_TOKEN_ID, configs[0].model.vocab_size), options):
            pairs.setdefault(title, []).append([tuple(pair[order[i]] for i in (0, 1)) for pair in steps])
        del engines
        gc.collect()
    heads = ("step", "described (ms)", "programmed (ms)", "ratio, built last", "ratio, built first", "ratio")
    title = (f"{Path(options.model_class).name}, medians of {options.rounds} pairs each, {configs[0].cpu_isa}, "
             f"{configs[0].num_threads} threads, {options.clock} clock")
    print_table(heads, [(step, *row(found)) for step, found in pairs.items()], right=heads[1:], title=title)


def row(found: list[list[tuple[float, ...]]]) -> list[str]:
    """Columns of a step. found: (described, programmed) seconds of pairs, for each order of building the engines."""
    each = zip(*(pair for pairs in found for pair in pairs), strict=True)
    ratios = [statistics.median(programmed / described for described, programmed in pairs) for pairs in found]
    return [*(f"{1000 * statistics.median(times):.2f}" for times in each), *(f"{ratio:.3f}" for ratio in ratios),
            f"{statistics.geometric_mean(ratios):.3f}"]


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a directory with a Llama")
    parser.add_argument("--model-class", default=f"{LLAMA}:MyLlama", help="default: %(default)s")
    parser.add_argument("--prompt-len", type=int, default=512, help="tokens of the prefill (default: %(default)s)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32], help="decodes (default: %(default)s)")
    parser.add_argument("--context-len", type=int, default=128, help="tokens before a decode (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="pairs of steps that are timed (default: %(default)s)")
    parser.add_argument("--num-threads", type=int)
    parser.add_argument("--cpu-isa", default="auto")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    return parser.parse_args()


def make_config(options: argparse.Namespace, model_class: str | None) -> EngineConfig:
    """The configuration of an engine with memory for the largest row."""
    longest = max(options.prompt_len, options.context_len + options.rounds + SPARE)
    args = EngineArgs(model=options.model, model_class=model_class, max_model_len=longest + 1, cpu_isa=options.cpu_isa,
                      num_threads=options.num_threads, max_num_seqs=max(options.batch_sizes), use_tqdm_on_load=False,
                      enable_prefix_caching=False, skip_tokenizer_init=True, kv_cache_memory_bytes=1 << 30)
    return resolve_engine_config(args, Machine.detect())


def cases(engines: list[EngineCore], vocabulary: range,
          options: argparse.Namespace) -> Iterator[tuple[str, Iterator[tuple[float, ...]]]]:
    """(the step, seconds of each pair of such steps)."""
    yield f"prefill {options.prompt_len}", prefills(engines, vocabulary, options)
    for batch_size in options.batch_sizes:
        yield f"decode {batch_size}", decodes(engines, batch_size, vocabulary, options)


def prefills(engines: list[EngineCore], vocabulary: range, options: argparse.Namespace) -> Iterator[tuple[float, ...]]:
    """Seconds of one whole prompt in each engine, again and again."""
    for i in range(-2, options.rounds):
        for engine in engines:
            submit(engine, f"prefill-{i}", options.prompt_len, vocabulary, max_tokens=1)
        seconds = tuple(timed(engine.step, options) for engine in engines)
        if i >= 0:                                    # the first ones fault pages in
            yield seconds


def decodes(engines: list[EngineCore], batch_size: int, vocabulary: range,
            options: argparse.Namespace) -> Iterator[tuple[float, ...]]:
    """Seconds of one decode step of the batch in each engine, again and again."""
    ids = [f"decode-{i}" for i in range(batch_size)]
    for engine in engines:
        for request_id in ids:
            submit(engine, request_id, options.context_len, vocabulary, max_tokens=options.rounds + SPARE)
        while engine.stats.num_waiting or engine.stats.step_tokens != batch_size:
            engine.step()
        for _ in range(4):                            # recorded by then, and compared
            engine.step()
    for _ in range(options.rounds):
        yield tuple(timed(engine.step, options) for engine in engines)
    for engine in engines:
        engine.abort(ids)


def submit(engine: EngineCore, request_id: str, length: int, vocabulary: range, *, max_tokens: int) -> None:
    """Queue a prompt of random tokens."""
    tokens = random.Random(request_id).choices(vocabulary, k=length)
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True, seed=0, stop=[])
    engine.add(EngineRequest(request_id=request_id, prompt_token_ids=tokens, params=params, eos_token_ids=[],
                             arrival_time=time.monotonic()))


def timed(call: Callable[[], object], options: argparse.Namespace) -> float:
    """Seconds of one call."""
    clock = CLOCKS[options.clock]
    start = clock()
    call()
    return clock() - start


if __name__ == "__main__":
    main()

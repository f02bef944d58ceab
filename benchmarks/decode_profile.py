"""Measures the share of a decode step that is spent outside kernels (the engine's overhead), for 1 and 32 sequences.

    python benchmarks/decode_profile.py /tmp/qwen3-0.6b

A clock around each call of a native kernel measures the time inside kernels. The rest of the step is Python and the few
torch operators of a step: scheduling, making the step's tensors, calling kernels, handling the result. The clocks' own
cost is included, so the share is an upper bound. The goal is under 5 %. Times by phase come from clocks around the
phases' calls. Without native kernels the command has nothing to measure, and says so.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import statistics
import time
from collections.abc import Callable
from typing import Any

import weft.ops as ops
from weft import EngineArgs, SamplingParams
from weft.cli.bench.workload import random_jobs
from weft.cli.tables import print_table
from weft.config.machine import Machine
from weft.engine.core import EngineCore
from weft.engine.process.messages import EngineRequest
from weft.ops import native
from weft.resolve.engine_config import resolve_engine_config


class Clock:
    """Adds up the time spent in calls of some methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, method: str, name: str) -> None:
        """From now on, add up the time in `owner.method` under `name`."""
        inner: Callable[..., Any] = getattr(owner, method)

        def clocked(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

        setattr(owner, method, clocked)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--prompt-len", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--num-threads", type=int)
    options = parser.parse_args()
    args = EngineArgs(model=options.checkpoint, num_threads=options.num_threads, use_tqdm_on_load=False)
    config = resolve_engine_config(args, Machine.detect())
    kernels = clock_kernels(config.cpu_isa)
    engine, vocabulary = EngineCore(config), range(config.model.vocab_size)
    clock, rows, phases = clocks(engine), [], []
    for batch_size in options.batch_sizes:
        step, outside, share = measure(engine, batch_size, vocabulary, clock, kernels, options)
        rows.append((batch_size, f"{1000 * step:.2f}", f"{1000 * outside:.2f}", f"{100 * share:.1f} %"))
        phases += [(batch_size, name, f"{1000 * total / options.steps:.3f}") for name, total in clock.seconds.items()]
    right = ("sequences", "step (ms)", "outside kernels (ms)", "share", "ms per step")
    print_table(("sequences", "step (ms)", "outside kernels (ms)", "share"), rows, right=right,
                title=f"Decode steps of {options.checkpoint}, medians of {options.steps}")
    print()
    print_table(("sequences", "phase", "ms per step"), phases, title="Phases", right=right)
    engine.close()


def measure(engine: EngineCore, batch_size: int, vocabulary: range, clock: Clock, kernels: ClockedKernels,
            options: argparse.Namespace) -> tuple[float, float, float]:
    """(seconds of a decode step, seconds outside kernels, their share). The clock keeps the times of the phases."""
    submit(engine, batch_size, vocabulary, options)
    while engine.stats.generation_tokens == 0 or engine.stats.step_tokens != batch_size:     # until all only decode
        engine.step()
    clock.seconds.clear()
    steps = []
    for _ in range(options.steps):
        kernels.seconds = 0.0
        wall = timed(engine.step)
        steps.append((wall, wall - kernels.seconds))
    engine.abort([f"{batch_size}-{i}" for i in range(batch_size)])
    return (statistics.median(wall for wall, _ in steps), statistics.median(outside for _, outside in steps),
            statistics.median(outside / wall for wall, outside in steps))


def submit(engine: EngineCore, batch_size: int, vocabulary: range, options: argparse.Namespace) -> None:
    """Queue requests that run for longer than the measurement."""
    jobs = random_jobs(vocabulary, batch_size, input_len=options.prompt_len,
                       output_len=4 * options.steps + 64, seed=batch_size)
    for i, job in enumerate(jobs):
        params = SamplingParams(temperature=0.0, max_tokens=job.output_len, ignore_eos=True, seed=i, stop=[])
        engine.add(EngineRequest(request_id=f"{batch_size}-{i}", prompt_token_ids=job.prompt_token_ids, params=params,
                                 eos_token_ids=[], arrival_time=time.monotonic()))


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class ClockedKernels:
    """A table of native kernels that adds up the seconds of its calls."""

    def __init__(self, table: Any) -> None:
        self.table, self.seconds = table, 0.0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.table, name)
        if not callable(call):
            return call

        def clocked(*args: Any) -> Any:
            start = time.perf_counter()
            result = call(*args)
            self.seconds += time.perf_counter() - start
            return result

        return clocked


def clock_kernels(isa: str) -> ClockedKernels:
    """Replace the kernel table of the ISA level by the clocked one in every operator, before an engine is made."""
    if native.unavailable("cpu", isa):
        raise SystemExit(f"no native kernels: {native.unavailable('cpu', isa)}")
    clocked = ClockedKernels(native.kernels(isa))
    for module in pkgutil.walk_packages(ops.__path__, "weft.ops."):
        found = importlib.import_module(module.name)
        if getattr(found, "kernels", None) is native.kernels and found is not native:
            found.kernels = lambda level: clocked
    return clocked


def clocks(engine: EngineCore) -> Clock:
    """Put clocks around the phases of a step. Uses private methods of the engine."""
    clock = Clock()
    clock.watch(engine._scheduler, "schedule", "schedule")
    clock.watch(engine.runner, "execute", "execute (the model and sampling)")
    clock.watch(engine.runner.model.module, "forward", "  of it the model's forward")
    clock.watch(engine.runner.model.module, "compute_logits", "  of it the head")
    clock.watch(engine.runner.sampler, "sample", "  of it sampling")
    clock.watch(engine._scheduler, "apply", "apply")
    return clock


if __name__ == "__main__":
    main()

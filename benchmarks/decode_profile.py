"""How much of a decode step is not torch: the engine's own cost, for 1 and 32 sequences.

    python benchmarks/decode_profile.py /tmp/qwen3-0.6b

torch.profiler tells the time of a step inside operators (the outermost ones, on the engine's thread). What is left of
the same step is Python and bookkeeping: scheduling, making the step's tensors, calling operators, taking the result
apart, and the profiler's own cost, so the share is an upper bound. The goal is under 5 %. The time of a step without
the profiler stands beside it, and times by phase from clocks around the phases' calls.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from weft import EngineArgs, SamplingParams
from weft.cli.bench.workload import random_jobs
from weft.cli.tables import print_table
from weft.config.machine import Machine
from weft.engine.core import EngineCore
from weft.engine.messages import EngineRequest
from weft.resolve.engine_config import resolve_engine_config


class Clock:
    """Adds up the time spent in calls of some methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, method: str, name: str) -> None:
        """From now on count the time in `owner.method` under `name`."""
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
    engine, vocabulary = EngineCore(config), range(config.model.vocab_size)
    clock, rows, phases = clocks(engine), [], []
    for batch_size in options.batch_sizes:
        step, outside, share = measure(engine, batch_size, vocabulary, clock, options)
        rows.append((batch_size, f"{1000 * step:.2f}", f"{1000 * outside:.2f}", f"{100 * share:.1f} %"))
        phases += [(batch_size, name, f"{1000 * total / options.steps:.3f}") for name, total in clock.seconds.items()]
    right = ("sequences", "step (ms)", "outside operators (ms)", "share", "ms per step")
    print_table(("sequences", "step (ms)", "outside operators (ms)", "share"), rows, right=right,
                title=f"Decode steps of {options.checkpoint}, medians of {options.steps}")
    print()
    print_table(("sequences", "phase", "ms per step"), phases, title="Phases", right=right)
    engine.close()


def measure(engine: EngineCore, batch_size: int, vocabulary: range, clock: Clock,
            options: argparse.Namespace) -> tuple[float, float, float]:
    """Of a decode step: its seconds, its seconds outside operators, their share. Leaves the phases in the clock."""
    submit(engine, batch_size, vocabulary, options)
    while engine.stats.generation_tokens == 0 or engine.stats.step_tokens != batch_size:     # until all only decode
        engine.step()
    clock.seconds.clear()
    plain = [timed(engine.step) for _ in range(options.steps)]
    phases = dict(clock.seconds)
    profiled = [profile_step(engine.step) for _ in range(options.steps)]
    clock.seconds = phases
    engine.abort([f"{batch_size}-{i}" for i in range(batch_size)])
    return (statistics.median(plain), statistics.median(wall - inside for wall, inside in profiled),
            statistics.median((wall - inside) / wall for wall, inside in profiled))


def submit(engine: EngineCore, batch_size: int, vocabulary: range, options: argparse.Namespace) -> None:
    """Queue requests that go on for longer than is measured."""
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


def profile_step(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of one call, and seconds of it inside torch operators."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        wall = timed(call)
    outermost = (e for e in profiler.events() if e.device_type == DeviceType.CPU and e.cpu_parent is None)
    return wall, sum(e.time_range.elapsed_us() for e in outermost) / 1e6


def clocks(engine: EngineCore) -> Clock:
    """Clocks around the phases of a step. Reaches into the engine: phases are its own affair."""
    clock = Clock()
    clock.watch(engine._scheduler, "schedule", "schedule")
    clock.watch(engine.runner, "execute", "execute (the model and sampling)")
    clock.watch(engine.runner.model, "forward", "  of it the model's forward")
    clock.watch(engine.runner.model, "compute_logits", "  of it the head")
    clock.watch(engine.runner.sampler, "sample", "  of it sampling")
    clock.watch(engine._scheduler, "apply", "apply")
    return clock


if __name__ == "__main__":
    main()

"""Measures the cost of a step without the model: scheduling, block accounting, appending tokens. Tokens are made up.

    python benchmarks/scheduler.py --running 256 --waiting 10000

Times are CPU time of this process, so a busy machine disturbs them little.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from weft.cache.groups import FullGroup, StateGroup, WindowGroup
from weft.cache.manager import CacheManager
from weft.config.engine_config import SchedulerConfig
from weft.engine.process.messages import EngineRequest
from weft.engine.scheduler import Scheduler
from weft.engine.sequence import Sequence
from weft.sampling_params import SamplingParams

MAX_MODEL_LEN = 8192
MAX_NUM_BATCHED_TOKENS = 4096


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A load: lengths of prompts and answers in tokens, and blocks of the pool for each running sequence.

    Answers have `max_tokens` tokens; with `is_staggered` between 1 and twice as many, so that they end at different
    steps.
    """

    name: str
    prompt_len: int
    max_tokens: int
    blocks_per_seq: int
    windows: tuple[int | None, ...] = (None,)
    has_states: bool = False      # a group of states besides
    is_staggered: bool = False
    num_shared: int = 0           # first prompt tokens that all sequences share


SCENARIOS = (
    Scenario(name="decode", prompt_len=64, max_tokens=4096, blocks_per_seq=300),
    Scenario(name="decode, window", prompt_len=64, max_tokens=4096, blocks_per_seq=300, windows=(None, 128)),
    Scenario(name="decode, states", prompt_len=64, max_tokens=4096, blocks_per_seq=300, has_states=True),
    Scenario(name="turnover", prompt_len=64, max_tokens=128, blocks_per_seq=30, is_staggered=True),
    Scenario(name="turnover, shared", prompt_len=512, max_tokens=128, blocks_per_seq=50, is_staggered=True,
             num_shared=448),
    Scenario(name="preemption", prompt_len=64, max_tokens=512, blocks_per_seq=20, is_staggered=True),
)


def main() -> None:
    args = parse_args()
    print(f"{args.running} running, {args.waiting} waiting, blocks of {args.block_size}, {args.steps} steps; "
          "microseconds of CPU time\n")
    print(f"{'load':<18}{'part':<10}{'median':>9}{'p90':>9}{'p99':>9}{'max':>9}{'preempted':>11}")
    for scenario in SCENARIOS:
        if args.only and args.only not in scenario.name:
            continue
        report(scenario, args)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--running", type=int, default=256, help="sequences in a step (max_num_seqs)")
    parser.add_argument("--waiting", type=int, default=10_000, help="sequences in the queue, refilled after each step")
    parser.add_argument("--steps", type=int, default=1000, help="steps measured, once the running list is full")
    parser.add_argument("--block-size", type=int, default=16)
    parser.add_argument("--only", default="", help="loads whose name has this in it")
    return parser.parse_args()


def report(scenario: Scenario, args: argparse.Namespace) -> None:
    scheduler, sequences = make_scheduler(scenario, args), make_sequences(scenario)
    adds = refill(scheduler, sequences, args.waiting + args.running)
    while scheduler.num_running < args.running and scheduler.num_preemptions == 0:
        measure_step(scheduler)
    parts = []
    for _ in range(args.steps):
        adds += refill(scheduler, sequences, args.waiting)
        parts.append(measure_step(scheduler))
    schedule, apply = zip(*parts, strict=True)
    rows = {"schedule": schedule, "apply": apply, "both": [sum(part) for part in parts], "add": adds,
            "abort": aborts(scheduler)}
    for name, times in rows.items():
        preempted = scheduler.num_preemptions if name == "schedule" else ""
        print(f"{scenario.name if name == 'schedule' else '':<18}{name:<10}{quantiles(times)}{preempted:>11}")


def make_scheduler(scenario: Scenario, args: argparse.Namespace) -> Scheduler:
    size = args.block_size
    groups = [FullGroup((layer,), 1, size) if window is None else WindowGroup(window, (layer,), 1, size)
              for layer, window in enumerate(scenario.windows)]
    if scenario.has_states:
        groups.append(StateGroup((len(groups),), 1, 16 * size))
    num_blocks = scenario.blocks_per_seq * args.running * 16 // size
    cache = CacheManager(groups, [num_blocks] * len(groups), True)
    config = SchedulerConfig(max_num_seqs=args.running, max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS)
    return Scheduler(config, cache, max_model_len=MAX_MODEL_LEN)


def make_sequences(scenario: Scenario) -> Iterator[Sequence]:
    draw = random.Random(0)
    shared = [draw.randrange(32_000) for _ in range(scenario.num_shared)]
    number = 0
    while True:
        own = [draw.randrange(32_000) for _ in range(scenario.prompt_len - scenario.num_shared)]
        max_tokens = draw.randint(1, 2 * scenario.max_tokens) if scenario.is_staggered else scenario.max_tokens
        yield Sequence(EngineRequest(
            request_id=f"{number}", prompt_token_ids=shared + own, params=SamplingParams(max_tokens=max_tokens),
            eos_token_ids=[32_000], arrival_time=0.0))
        number += 1


def refill(scheduler: Scheduler, sequences: Iterator[Sequence], num_waiting: int) -> list[int]:
    """Fill the queue. Returns the nanoseconds of each `add`."""
    times = []
    while scheduler.num_waiting < num_waiting:
        seq = next(sequences)
        start = time.process_time_ns()
        scheduler.add(seq)
        times.append(time.process_time_ns() - start)
    return times


def measure_step(scheduler: Scheduler) -> tuple[int, int]:
    """Run one step. Returns the nanoseconds of its two halves."""
    start = time.process_time_ns()
    plan = scheduler.schedule()
    scheduled = time.process_time_ns()
    token_ids = [[item.start % 997] if item.num_rows else [] for item in plan.scheduled]
    computed = time.process_time_ns()
    scheduler.apply(plan, token_ids)
    return scheduled - start, time.process_time_ns() - computed


def aborts(scheduler: Scheduler) -> list[int]:
    """Abort a thousand random sequences, waiting or running. Returns the nanoseconds of each."""
    times = []
    for request_id in random.Random(1).sample(scheduler.request_ids, min(1000, len(scheduler.request_ids))):
        start = time.process_time_ns()
        scheduler.abort(request_id)
        times.append(time.process_time_ns() - start)
    return times


def quantiles(times_ns: list[int]) -> str:
    times, last = sorted(times_ns), len(times_ns) - 1
    return "".join(f"{times[round(share * last)] / 1000:9.1f}" for share in (0.5, 0.9, 0.99, 1.0))


if __name__ == "__main__":
    main()

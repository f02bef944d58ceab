"""The engine that `weft bench latency` and `throughput` measure. Slow to import."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from weft.cli.bench.workload import Job
from weft.config.engine_args import EngineArgs
from weft.llm import LLM
from weft.outputs import RequestMetrics, RequestOutput
from weft.sampling_params import SamplingParams


class BenchEngine:
    """Runs jobs on an LLM: greedy, to their full length, without detokenizing."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self.name = llm.config.model.name
        self.vocabulary = range(llm.config.model.vocab_size)

    def generate(self, jobs: Sequence[Job]) -> list[float]:
        """Run all jobs at once. Returns each job's latency in seconds, from its arrival to its end."""
        return [_seconds(output.metrics) for output in self._run(jobs)]

    def times(self, jobs: Sequence[Job]) -> tuple[float, float]:
        """Run all jobs at once. Returns (seconds to the last first token, seconds from there to the end)."""
        start = time.monotonic()
        metrics = [output.metrics for output in self._run(jobs)]
        first = max(each.first_token_time or start for each in metrics if each is not None)
        return first - start, max(each.finished_time or start for each in metrics if each is not None) - first

    def model_level(self) -> str:
        """How a model of Transformers runs."""
        (level,) = self._llm.apply_model(lambda module: getattr(module, "level", "native"))
        return level

    def _run(self, jobs: Sequence[Job]) -> list[RequestOutput]:
        params = [SamplingParams(temperature=0.0, max_tokens=job.output_len, ignore_eos=True, detokenize=False)
                  for job in jobs]
        return self._llm.generate([{"prompt_token_ids": job.prompt_token_ids} for job in jobs], params,
                                  use_tqdm=False)


def _seconds(metrics: RequestMetrics | None) -> float:
    assert metrics is not None and metrics.finished_time is not None, "generate returns finished requests"
    return metrics.finished_time - metrics.arrival_time


@contextmanager
def open_llm(args: EngineArgs) -> Iterator[BenchEngine]:
    """A context manager: an engine for the time of the `with` block."""
    llm = LLM.from_engine_args(args)
    try:
        yield BenchEngine(llm)
    finally:
        llm.close()

"""The client's record for restarts of an engine process: each sequence's tokens so far, and total counters."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import msgspec

from weft.engine.process.messages import EngineOutput, EngineRequest, EngineStats
from weft.sampling_params import SamplingParams

_COUNTERS = ("num_steps", "prompt_tokens", "generation_tokens", "prefix_cache_queries", "prefix_cache_hits",
             "num_preemptions", "num_drafts", "num_draft_tokens", "num_accepted_tokens_per_pos",
             "num_deaths")


class OpenSequence:
    """One unfinished sequence: its request and its tokens so far."""

    def __init__(self, request: EngineRequest) -> None:
        self.request = request
        self.is_sent = False     # to the process that runs now
        self.is_running = False      # computed by the process that runs now, as far as is known
        self._token_ids: list[int] = []
        self._mirostat_mu: float | None = request.mirostat_mu
        self._num_prompt_logprobs = 0      # prompt positions delivered
        self._num_repeated = 0             # delivered positions that a resumed prompt still computes again
        self._num_extra_rows = 0           # positions of extra outputs delivered
        self._num_repeated_rows = 0        # as _num_repeated, of extra outputs

    def record(self, output: EngineOutput) -> EngineOutput:
        """Record a step's output. Returns it without prompt_logprobs and extra outputs that were delivered before a
        restart.
        """
        self._token_ids += output.new_token_ids
        self._mirostat_mu = output.mirostat_mu
        if output.prompt_logprobs:
            repeated = min(self._num_repeated, len(output.prompt_logprobs))
            self._num_repeated -= repeated
            output.prompt_logprobs = output.prompt_logprobs[repeated:]
            self._num_prompt_logprobs += len(output.prompt_logprobs)
        if output.extra_outputs:
            num_rows = next(iter(output.extra_outputs.values())).shape[0]
            repeated = min(self._num_repeated_rows, num_rows)
            self._num_repeated_rows -= repeated
            self._num_extra_rows += num_rows - repeated
            output.extra_outputs = {name: rows.without(repeated) for name, rows in output.extra_outputs.items()}
        return output

    def resumed(self) -> EngineRequest:
        """The request that continues after the last token.

        It asks for no prompt_logprobs if a token was generated: they were complete by then.
        """
        self._num_repeated, self._num_repeated_rows = self._num_prompt_logprobs, self._num_extra_rows
        params = self.request.params
        if self._token_ids and isinstance(params, SamplingParams) and params.prompt_logprobs is not None:
            params = msgspec.structs.replace(params, prompt_logprobs=None)
        return msgspec.structs.replace(
            self.request, params=params, mirostat_mu=self._mirostat_mu,
            output_token_ids=self.request.output_token_ids + self._token_ids)


class StatsTotal:
    """Statistics of an engine across restarts of its process."""

    def __init__(self) -> None:
        self.latest = EngineStats()
        self._before = _counters(self.latest)

    def add(self, stats: EngineStats) -> EngineStats:
        """`stats` of a step, with counters from the first process's start."""
        self.latest = msgspec.structs.replace(
            stats, **{name: _sum(self._before[name], value) for name, value in _counters(stats).items()})
        return self.latest

    def restart(self) -> None:
        """Notes a new process, whose counters start from zero."""
        self._before = _counters(self.latest)

    def died(self) -> None:
        """Notes that the process ended unexpectedly. `restart` follows, if another one starts."""
        self.latest = msgspec.structs.replace(self.latest, num_deaths=self.latest.num_deaths + 1)


def _counters(stats: EngineStats) -> dict[str, Any]:
    return {name: getattr(stats, name) for name in _COUNTERS}


def _sum(before: Any, now: Any) -> Any:
    """The sum of two numbers, or the element-wise sum of two lists."""
    if isinstance(before, list):
        return [a + b for a, b in zip_longest(before, now, fillvalue=0)]
    assert isinstance(before, int) and isinstance(now, int), "a counter stays a number, or a list"
    return before + now

"""How much may wait for a server's engine by default, and when a client that was refused should come back."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import replace

from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.frontend.pooling import PoolingRecord
from weft.outputs import RequestOutput
from weft.sampling_params import SamplingParams

_SHARE = 1 / 32                 # of the machine's memory, for all requests that wait
_REQUEST_BYTES = 64 * 2**10     # of a waiting request without its tokens, in both processes
_TOKEN_BYTES = 128              # of a waiting token, in both processes
_MAX_SECONDS = 60


def with_queue_limits(args: EngineArgs, machine: Machine) -> EngineArgs:
    """`args` with limits on what waits, from the machine's memory where the user gave none."""
    room = int(machine.memory_bytes.value * _SHARE)
    return replace(args, max_num_queued_reqs=args.max_num_queued_reqs or max(room // _REQUEST_BYTES, 1),
                   max_num_queued_tokens=args.max_num_queued_tokens or max(room // _TOKEN_BYTES, 1))


class Pace:
    """How fast requests end, from the last ones: an observer of the engine."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=64)      # seconds of time.monotonic

    def on_step(self, stats: object) -> None:
        """Nothing: only ends count."""

    def on_finished(self, output: RequestOutput, params: SamplingParams) -> None:
        """Notes the end of a request."""
        self._ends.append(time.monotonic())

    def on_pooled(self, record: PoolingRecord) -> None:
        """Notes the end of a pooling request."""
        self._ends.append(time.monotonic())

    def retry_after(self, num_waiting: int) -> int:
        """Seconds, 1 to 60, in which as many requests should end as wait now."""
        if len(self._ends) < 2:
            return 1
        seconds = (time.monotonic() - self._ends[0]) / len(self._ends)
        return min(max(math.ceil(num_waiting * seconds), 1), _MAX_SECONDS)

"""`ModelEntry`: what the pool knows of one model, loaded or not: its state, its users, its statistics.

All methods are called in the event loop; the properties are also read by a thread that answers GET /metrics.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass

from weft.engine.process.messages import EngineStats, MemoryNeed
from weft.engine.process.resume import StatsTotal
from weft.frontend.metrics import EngineMetrics
from weft.server.model_pool.spec import ModelSpec
from weft.server.served import ServedModel

_RETRY_S = 10.0      # seconds after a failed load in which requests are refused without another attempt


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a model could not be loaded. until: seconds of `time.monotonic` before which nobody tries again."""

    error: Exception
    until: float


class ModelEntry:
    """One model of the server.

    Attributes:
        served: the loaded model, or None.
        work: the load or the unload that runs, or None. is_loading: it is a load.
        num_users: requests that use the model or wait for it.
        num_waiting: those that wait.
        keep_alive: seconds that the model stays loaded without users, from the spec or from the last request.
        last_used: seconds of `time.monotonic` when the last user left.
        need: the memory that the model needs, once it was measured.
        max_model_len: tokens, of the last time that the model was loaded; None before.
        num_loads: {"ok": count, "failed": count}.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec, self.keep_alive = spec, spec.keep_alive
        self.served: ServedModel | None = None
        self.metrics: EngineMetrics | None = None
        self.work: asyncio.Task[None] | None = None
        self.is_loading = False
        self.num_users = self.num_waiting = 0
        self.last_used = time.monotonic()
        self.need: MemoryNeed | None = None
        self.failure: Failure | None = None
        self.max_model_len: int | None = None
        self.num_loads = {"ok": 0, "failed": 0}
        self.timer: asyncio.TimerHandle | None = None
        self._total = StatsTotal()
        self._lock = threading.Lock()      # of the model's end in the counters: a scrape sees it done, or not begun
        self._leaving_bytes = 0

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.spec.name

    @property
    def state(self) -> str:
        """loaded, loading or unloaded: words of llama.cpp's router."""
        if self.served is not None:
            return "loaded"
        return "loading" if self.is_loading else "unloaded"

    @property
    def memory_bytes(self) -> int:
        """What the model may use while it is in memory, until it has left; 0 for another."""
        served = self.served
        return self._leaving_bytes if served is None else served.engine.info.memory_bytes

    @property
    def is_ready(self) -> bool:
        """True for a loaded model that does not leave."""
        return self.served is not None and self.work is None and not self.served.engine.errored

    @property
    def is_idle(self) -> bool:
        """True for a loaded model that nobody uses, and that no pause or sleep holds."""
        return self.served is not None and self.work is None and self.num_users == 0 and not self.served.engine.is_held

    @property
    def sleep_state(self) -> str:
        """That of the loaded model's engine."""
        served = self.served
        return "awake" if served is None else served.engine.sleep_state

    @property
    def stats(self) -> EngineStats:
        """The engine's statistics. Counters count from the first load; the others are 0 while it is not loaded."""
        with self._lock:
            return self._total.add(EngineStats() if self.served is None else self.served.engine.stats)

    def loaded(self, served: ServedModel) -> None:
        """The model is loaded."""
        self.served, self.failure, self.max_model_len = served, None, served.engine.info.max_model_len
        self.num_loads["ok"] += 1

    def leaves(self) -> None:
        """The model is no longer used, and still in memory."""
        served = self.served
        assert served is not None, "only a loaded model leaves"
        self._leaving_bytes = self.memory_bytes
        with self._lock:
            self._total.add(served.engine.stats)      # the last ones
            self._total.restart()
            self.served = None

    def has_left(self) -> None:
        """The model is no longer in memory."""
        self._leaving_bytes = 0

    def failed(self, error: Exception) -> None:
        """The model could not be loaded, or its engine has ended for good."""
        self.failure = Failure(error, time.monotonic() + _RETRY_S)
        self.num_loads["failed"] += 1

    def recent_failure(self) -> Failure | None:
        """The last failure, while it is too early to try again."""
        failure = self.failure
        return failure if failure is not None and time.monotonic() < failure.until else None

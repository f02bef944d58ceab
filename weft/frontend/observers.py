"""`Observer`: callbacks for events of an engine, which the metrics of a server need; `Observers`: those of one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from weft.engine.process.messages import EngineStats
from weft.frontend.outputs import State
from weft.frontend.pooling import PoolingRecord, PoolingState
from weft.outputs import RequestOutput
from weft.sampling_params import SamplingParams

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Callbacks for engine events. `AsyncLLM` calls them in its event loop."""

    def on_step(self, stats: EngineStats) -> None:
        """Called after each engine step."""

    def on_finished(self, output: RequestOutput, params: SamplingParams) -> None:
        """Called when a generating request has ended, for any reason. output: all of it, regardless of output kind."""

    def on_pooled(self, record: PoolingRecord) -> None:
        """Called when a pooling request has ended, for any reason."""


class Observers:
    """The observers of one engine."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []

    def __bool__(self) -> bool:
        return bool(self._observers)

    def add(self, observer: Observer) -> None:
        """Call `observer` from now on."""
        self._observers.append(observer)

    def remove(self, observer: Observer) -> None:
        """Call `observer` no more."""
        self._observers.remove(observer)

    def tell_end(self, state: State) -> None:
        """Tells all observers of a request that has ended."""
        if isinstance(state, PoolingState):
            record = state.record()
            self.tell(lambda observer: observer.on_pooled(record))
        else:
            whole, params = state.snapshot(), state.params
            self.tell(lambda observer: observer.on_finished(whole, params))

    def tell(self, call: Callable[[Observer], None]) -> None:
        """Calls all observers. An observer's exception is logged: it must not end the observed requests."""
        for observer in self._observers:
            try:
                call(observer)
            except Exception:
                logger.exception("an observer failed")

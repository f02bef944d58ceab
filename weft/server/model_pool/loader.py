"""`EngineLoader`: starts the engines of a server's models, one at a time, each in a process of its own.

All methods block: the pool calls them in a thread.
"""

from __future__ import annotations

from dataclasses import replace

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.engine.process.measure import measure
from weft.engine.process.messages import MemoryNeed
from weft.engine.process.spare import Spare, Spares
from weft.resolve.engine_config import resolve_engine_config


class EngineLoader:
    """Starts engines. spares: where their processes come from; the loader closes them.

    budget_bytes: memory for all models together. is_given: the user has set it, so that it also limits a model that
    is alone; otherwise that one's own memory plan does.
    """

    def __init__(self, spares: Spares, *, budget_bytes: int, is_given: bool = False) -> None:
        self.budget_bytes, self._is_given, self._spares = budget_bytes, is_given, spares
        self._spare: Spare | None = None      # the process that measures, and loads afterwards
        self._is_killed = False

    def resolve(self, args: EngineArgs) -> EngineConfig:
        """The engine's config. ConfigError or CheckpointError if the model's files or options are wrong."""
        return resolve_engine_config(args, Machine.detect())

    def measure(self, config: EngineConfig) -> MemoryNeed:
        """The memory that the model needs. MemoryPlanError if it is more than there is for all models."""
        spare = self._take()
        try:
            return measure(_within(config, self.budget_bytes), spare)
        except BaseException:
            self.drop()
            raise

    def start(self, config: EngineConfig, limit_bytes: int | None) -> AsyncLLM:
        """The engine, loaded. limit_bytes: what other models leave of the budget; None: there are no others.

        Raises the engine's own error if it cannot start.
        """
        spare = self._take()
        if limit_bytes is None and self._is_given:
            limit_bytes = self.budget_bytes
        try:
            return AsyncLLM(_within(config, limit_bytes), spare, spares=self._spares)
        finally:
            self.drop()

    def drop(self) -> None:
        """Ends the process that has measured and is not going to load."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()

    def kill(self) -> None:
        """Ends the process that starts, so that a blocked call of another thread returns with an error. `close` must
        follow.
        """
        self._is_killed = True
        spare = self._spare      # the other thread may drop it meanwhile
        if spare is not None:
            spare.kill()

    def close(self) -> None:
        """`kill`, and end the spare process."""
        self.kill()
        self._spares.close()

    def _take(self) -> Spare:
        spare = self._spare = self._spare or self._spares.take()
        if self._is_killed:      # before there was this process
            spare.kill()
        return spare


def _within(config: EngineConfig, limit_bytes: int | None) -> EngineConfig:
    return config if limit_bytes is None else replace(config, cache=replace(config.cache, memory_bytes=limit_bytes))

"""A loader of a pool's models that starts fake engines: quick, and as slow or broken as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import SimpleNamespace

import msgspec
from fake_engine import FakeEngine

from weft.engine.process.messages import MemoryNeed
from weft.errors import EngineDeadError


class PoolEngine(FakeEngine):
    """A fake engine of a pool: it can be shut down, and die. answered: tokens that it counts."""

    def __init__(self, name: str, memory_bytes: int, **options) -> None:
        super().__init__(f"I am {name}", **options)
        self.info = msgspec.structs.replace(self.info, memory_bytes=memory_bytes)
        self.is_down = False

    def die(self, reason: str) -> None:
        """The engine has ended for good."""
        self.errored, self.dead_error = True, EngineDeadError(reason)
        self._refuse = self.dead_error

    def shutdown(self) -> None:
        self.is_down = True
        self._refuse = EngineDeadError("The engine is closed.")

    kill = shutdown


class FakeLoader:
    """needs: {model: bytes that it needs}. failures: {model: what its start raises}. started: [(model, limit)].

    gate: a start waits for it while it is not set.
    """

    def __init__(self, needs: Mapping[str, int] | None = None, *, budget_bytes: int = 100,
                 failures: Mapping[str, Exception] | None = None, step_seconds: float = 0.0) -> None:
        self.needs, self.budget_bytes, self.failures = dict(needs or {}), budget_bytes, dict(failures or {})
        self.started: list[tuple[str, int | None]] = []
        self.engines: dict[str, PoolEngine] = {}
        self.gate = threading.Event()
        self.gate.set()
        self._step_seconds = step_seconds

    def resolve(self, args):
        return SimpleNamespace(name=args.model)

    def measure(self, config) -> MemoryNeed:
        need = self.needs.get(config.name, 10)
        return MemoryNeed(need, need)

    def start(self, config, limit_bytes: int | None) -> PoolEngine:
        self.started.append((config.name, limit_bytes))
        self.gate.wait(10)
        if config.name in self.failures:
            raise self.failures[config.name]
        engine = self.engines[config.name] = PoolEngine(config.name, self.needs.get(config.name, 10),
                                                        step_seconds=self._step_seconds)
        return engine

    def drop(self) -> None:
        pass

    kill = close = drop

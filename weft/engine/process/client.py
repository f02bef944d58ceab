"""`InProcessClient`: the engine in the calling process; `Core`: what a client asks of an engine core.

The child-process twin is `process_client.py`. Neither knows text.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from weft.config.affinity import kept_to
from weft.config.engine_config import EngineConfig
from weft.engine.process.messages import EngineInfo, EngineRequest, EngineStats, StepResult
from weft.errors import EngineDeadError

CORE = "weft.engine.core:EngineCore"


class Core(Protocol):
    """An engine: `engine/core.py`, or a toy in the tests."""

    info: EngineInfo
    stats: EngineStats

    def add(self, request: EngineRequest) -> None: ...
    def abort(self, request_ids: Iterable[str]) -> None: ...
    def step(self) -> StepResult: ...
    @property
    def has_unfinished(self) -> bool: ...
    def reset_prefix_cache(self) -> bool: ...
    def collective_rpc(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> list[Any]: ...
    def apply_model(self, func: Callable[[Any], Any]) -> list[Any]: ...
    def close(self) -> None: ...


def load_core(factory: str, config: EngineConfig) -> Core:
    """Make a core. factory: `module:function`, a string so that it can travel to a child process."""
    module, _, name = factory.partition(":")
    return getattr(importlib.import_module(module), name)(config)


class InProcessClient:
    """Drives a core by plain calls. Every method but `close` raises EngineDeadError once closed.

    Loading and steps run on the config's CPUs; in between the calling thread is as free as before.
    """

    def __init__(self, config: EngineConfig, core_factory: str = CORE) -> None:
        self._cpus = config.cpus
        with kept_to(self._cpus):
            self._core: Core | None = load_core(core_factory, config)
        self.info = self._core.info

    @property
    def has_unfinished(self) -> bool:
        """True while a step has something to do."""
        return self._core is not None and self._core.has_unfinished

    @property
    def stats(self) -> EngineStats:
        """After the last step."""
        return self._open().stats

    def add(self, request: EngineRequest) -> None:
        """RequestError when it can never run, QueueFullError when too many wait."""
        self._open().add(request)

    def abort(self, request_ids: Iterable[str]) -> None:
        """Drop sequences; their blocks are free at once. Nothing more is said about them."""
        self._open().abort(request_ids)

    def step(self) -> StepResult:
        """Run one step."""
        with kept_to(self._cpus):
            return self._open().step()

    def reset_prefix_cache(self) -> bool:
        """Forget all cached prefixes; False when something is still running on them."""
        return self._open().reset_prefix_cache()

    def collective_rpc(self, method: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> list:
        """Call a method of each worker."""
        return self._open().collective_rpc(method, args, kwargs)

    def apply_model(self, func: Callable[[Any], Any]) -> list:
        """Call `func(model)` in each worker."""
        return self._open().apply_model(func)

    def close(self) -> None:
        """End the engine and give its memory back."""
        core, self._core = self._core, None
        if core is not None:
            core.close()

    def _open(self) -> Core:
        if self._core is None:
            raise EngineDeadError("The engine is closed.")
        return self._core

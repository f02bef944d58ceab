"""`InProcessClient`: the engine in the calling process; `Core`: the interface of an engine core to its client.

`process_client.py` is the counterpart for a child process. Both know token ids only, no text.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from weft.config.affinity import kept_to
from weft.config.engine_config import EngineConfig
from weft.engine.process.messages import EngineInfo, EngineRequest, EngineStats, MemoryNeed, StepResult
from weft.engine.process.spare import CORE
from weft.errors import EngineDeadError
from weft.grammar.vocabulary import Vocabulary


class Rejection(NamedTuple):
    """A request that a core took, and found to be wrong later."""

    request_id: str
    error: BaseException


class Core(Protocol):
    """An engine core: `EngineCore` in `engine/core.py`, or a toy engine in the tests.

    faults: exceptions out of a step that end its requests, not the engine.
    on_start: the core calls it with the ids of sequences before the first step that computes them.
    waits_for_grammars: False: `add` does not wait for a request's grammar; `take_rejected` has those that are wrong.
    """

    info: EngineInfo
    stats: EngineStats
    faults: tuple[type[BaseException], ...]
    on_start: Callable[[list[str]], None]
    waits_for_grammars: bool

    def add(self, request: EngineRequest) -> None: ...
    def set_vocabulary(self, vocabulary: Vocabulary) -> None: ...
    def take_rejected(self) -> list[Rejection]: ...
    def abort(self, request_ids: Iterable[str]) -> None: ...
    def step(self) -> StepResult: ...
    @property
    def has_unfinished(self) -> bool: ...
    def reset_prefix_cache(self) -> bool: ...
    def reset_mm_cache(self) -> None: ...
    def collective_rpc(self, method: str | Callable[..., Any], args: Sequence[Any],
                       kwargs: Mapping[str, Any] | None) -> list[Any]: ...
    def apply_model(self, func: Callable[[Any], Any]) -> list[Any]: ...
    def close(self) -> None: ...


class CoreMaker(Protocol):
    """What makes a core. memory_need: the memory that a model needs, told before there is a core."""

    memory_need: Callable[[EngineConfig], MemoryNeed]

    def __call__(self, config: EngineConfig) -> Core: ...


def core_maker(factory: str) -> CoreMaker:
    """The function that makes a core. factory: `module:function`, a string so that it can travel to a child process."""
    module, _, name = factory.partition(":")
    return getattr(importlib.import_module(module), name)


class InProcessClient:
    """Drives a core by plain calls. After `close`, every other method raises EngineDeadError.

    Loading and steps run on the CPUs of `config.cpus`; between steps the calling thread has its own affinity again.
    """

    def __init__(self, config: EngineConfig, core_factory: str = CORE) -> None:
        self._cpus = config.cpus
        with kept_to(self._cpus):
            self._core: Core | None = core_maker(core_factory)(config)
        self.info = self._core.info

    @property
    def has_unfinished(self) -> bool:
        """True while a step has something to do."""
        return self._core is not None and self._core.has_unfinished

    @property
    def stats(self) -> EngineStats:
        """The engine's statistics after the last step."""
        return self._open().stats

    def add(self, request: EngineRequest) -> None:
        """Queue a request. RequestError if it can never run, QueueFullError if too many requests wait."""
        self._open().add(request)

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The bytes of the model's tokens, before the first request with a grammar."""
        self._open().set_vocabulary(vocabulary)

    def abort(self, request_ids: Iterable[str]) -> None:
        """Drop sequences and release their blocks at once. They give no further output."""
        self._open().abort(request_ids)

    def step(self) -> StepResult:
        """Run one step."""
        with kept_to(self._cpus):
            return self._open().step()

    def reset_prefix_cache(self) -> bool:
        """Forget all cached prefixes. Returns False, with nothing changed, while sequences run."""
        return self._open().reset_prefix_cache()

    def reset_mm_cache(self) -> None:
        """Forget the encoder's rows of all media that no sequence holds."""
        self._open().reset_mm_cache()

    def collective_rpc(self, method: str | Callable[..., Any], args: Sequence[Any] = (),
                       kwargs: Mapping[str, Any] | None = None) -> list:
        """Call a method of each worker by name, or method(worker, ...). Returns one result for each worker."""
        return self._open().collective_rpc(method, args, kwargs)

    def apply_model(self, func: Callable[[Any], Any]) -> list:
        """Call `func(model)` in each worker. Returns one result for each worker."""
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

"""`ModelPool`: the models of a server. Loads them when requests name them, unloads idle ones, keeps to a memory budget.

One model is loaded at a time. A request that names a model which is not loaded waits for it, for a limited time; only
so many may wait. All methods are called in the event loop, except where they say otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig
from weft.config.human_bytes import human_bytes
from weft.errors import EngineDeadError, MemoryPlanError, QueueFullError, WeftError, did_you_mean
from weft.frontend.own_thread import in_own_thread
from weft.server.audit import Audit
from weft.server.errors import ApiError
from weft.server.model_pool.entry import ModelEntry
from weft.server.model_pool.keep_alive import FOREVER
from weft.server.model_pool.loader import EngineLoader
from weft.server.model_pool.room import Room, room_for
from weft.server.model_pool.serving import served_model
from weft.server.model_pool.spec import ModelSpec
from weft.server.options import ServerOptions
from weft.server.served import ServedModel
from weft.server.server_metrics import ServerMetrics
from weft.server.traces import Tracing
from weft.server.work import Work

logger = logging.getLogger("weft")
_SHOWN = 20      # names in a message


class ModelPool:
    """The models of one server. loader: starts engines; None: all models are given by `adopt`.

    load_timeout: seconds that a request waits for its model. tracing: where spans of requests go; None: nowhere.

    Attributes:
        entries: the models. metrics: those of the server, with those of all models. audit: notes refused requests.
        work: the threads of all models' requests.
    """

    def __init__(self, specs: Sequence[ModelSpec], loader: EngineLoader | None, *, load_timeout: float = 300.0,
                 tracing: Tracing | None = None) -> None:
        self.entries = [ModelEntry(spec) for spec in specs]
        self.metrics = ServerMetrics(self.entries)
        self.audit, self.work = Audit(self.metrics.registry), Work()
        self._by_name = {name: entry for entry in self.entries for name in entry.spec.names}
        self._loader, self._load_timeout, self._tracing = loader, load_timeout, tracing
        self._turn = asyncio.Lock()          # of the one load that runs; one that waits for room does not
        self._changed = asyncio.Event()      # set, and replaced, when a model becomes idle or leaves memory
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    @property
    def names(self) -> list[str]:
        """The names of all models, each model's own name first."""
        return list(self._by_name)

    @property
    def loaded(self) -> list[ServedModel]:
        """The models that are in memory."""
        return [entry.served for entry in self.entries if entry.served is not None]

    def there_are(self) -> str:
        """A sentence with the names of all models."""
        shown = ", ".join(self.names[:_SHOWN]) + (", …" if len(self.names) > _SHOWN else "")
        return f"There is {shown}." if len(self.names) == 1 else f"There are {shown}."

    @property
    def dead_error(self) -> EngineDeadError | None:
        """Why no model can answer: the engines of all models have ended for good; None otherwise."""
        engines = [entry.served and entry.served.engine for entry in self.entries]
        dead = [engine.dead_error for engine in engines if engine is not None and engine.errored]
        return dead[0] if len(dead) == len(engines) else None

    @classmethod
    def of(cls, engine: AsyncLLM, options: ServerOptions, tracing: Tracing | None = None) -> ModelPool:
        """The pool of one model, which runs in `engine` and stays. The caller shuts the engine down."""
        names = engine.config.served_model_names
        pool = cls([ModelSpec(names=names, args=EngineArgs(engine.config.model.name), options=options,
                               is_resident=True)], None, tracing=tracing)
        pool.adopt(pool.entries[0], engine)
        return pool

    def find(self, name: str | None) -> ModelEntry:
        """The model of this name; None: the only one. ApiError 404 for an unknown name, 400 if there are several."""
        if name is None:
            if len(self.entries) > 1:
                raise ApiError(400, f"model is missing: this server has several. {self.there_are()}", "model")
            return self.entries[0]
        entry = self._by_name.get(name)
        if entry is None:
            hint = did_you_mean(name, self._by_name) if len(self.entries) > 1 else ""
            raise ApiError(404, f"The model {name!r} does not exist here. {self.there_are()} {hint}".rstrip(), "model")
        return entry

    def hold(self, entry: ModelEntry) -> None:
        """One more user of the model, until `release`: it is not unloaded meanwhile."""
        entry.num_users += 1
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None

    def release(self, entry: ModelEntry) -> None:
        """A user of the model has left."""
        entry.num_users -= 1
        entry.last_used = time.monotonic()
        if entry.num_users == 0:
            self._set_timer(entry)
            self._tell_change()

    async def ready(self, entry: ModelEntry, *, timeout: float | None = None) -> ServedModel:
        """The loaded model; loads it if it is not. The caller holds it.

        timeout: the request's own limit in seconds. ApiError 408 when it is over; 503 when the server's own is, or the
        model cannot be loaded; 429 if too many requests wait already.
        """
        self.drop_dead()
        if entry.is_ready and entry.served is not None:
            return entry.served
        self._loop = asyncio.get_running_loop()
        limit = entry.spec.args.max_num_queued_reqs
        if limit is not None and entry.num_waiting >= limit:
            raise QueueFullError(f"{entry.num_waiting} requests wait for the model {entry.name!r}, {limit} may.")
        seconds = self._load_timeout if timeout is None else min(timeout, self._load_timeout)
        entry.num_waiting += 1
        try:
            async with asyncio.timeout(seconds):
                return await self._until_ready(entry)
        except TimeoutError as error:
            if timeout is not None and timeout <= self._load_timeout:
                raise ApiError(408, f"The model {entry.name!r} was not loaded within the request's timeout of "
                               f"{timeout:g} s.", "timeout") from error
            raise ApiError(503, f"The model {entry.name!r} was not loaded within {seconds:g} s.",
                           retry_after=1) from error
        finally:
            entry.num_waiting -= 1

    async def unload(self, entry: ModelEntry) -> bool:
        """Takes the model out of memory now. False if it is in use, paused, or being loaded."""
        if entry.is_idle:
            self._unload(entry)
        if entry.work is None or entry.is_loading:
            return entry.state == "unloaded"
        await asyncio.shield(entry.work)
        return True

    def adopt(self, entry: ModelEntry, engine: AsyncLLM) -> None:
        """The entry's model runs in `engine`. Also called before there is an event loop."""
        entry.loaded(self._served(entry, engine))

    def load_first(self) -> None:
        """Loads the models that are loaded at start, in the calling thread. Raises the engine's own error."""
        for entry in self.entries:
            if entry.spec.loads_at_start and self._loader is not None:
                used = sum(other.memory_bytes for other in self.entries)
                limit = max(self._loader.budget_bytes - used, 0) if used else None
                engine = self._loader.start(_config_of(entry, self._loader), limit)
                try:
                    self.adopt(entry, engine)
                except BaseException:
                    engine.shutdown()
                    raise

    def begin(self) -> None:
        """The server listens: from now on models are idle that nobody uses."""
        for entry in self.entries:
            if entry.num_users == 0:
                self._set_timer(entry)

    def drop_dead(self) -> None:
        """Forgets engines that have ended for good, so that the next request starts their models anew; not the last
        model's, whose end is the server's.
        """
        if self.dead_error is not None:
            return
        for entry in self.entries:
            if entry.served is not None and entry.work is None and entry.served.engine.errored:
                error = entry.served.engine.dead_error
                logger.error("model %s: %s", entry.name, error)
                self._unload(entry)
                entry.failed(error)

    def kill(self) -> None:
        """Ends all engines in the middle of their steps. `close` must follow."""
        self._is_closed = True
        self._wake()
        if self._loader is not None:
            self._loader.kill()
        for served in self.loaded:
            served.engine.kill()

    def close(self) -> None:
        """Ends all engines and waits for them. Callable from any thread, also a second time."""
        self._is_closed = True
        self._wake()
        if self._loader is not None:
            self._loader.close()
        engines = [served.engine for served in self.loaded]
        if engines:
            with ThreadPoolExecutor(len(engines)) as threads:
                list(threads.map(lambda engine: engine.shutdown(), engines))

    def _served(self, entry: ModelEntry, engine: AsyncLLM) -> ServedModel:
        return served_model(entry, engine, self.audit, self.work, self._tracing)

    async def _until_ready(self, entry: ModelEntry) -> ServedModel:
        while entry.served is None or entry.work is not None:
            if entry.work is None:
                self._refuse_now(entry)
                entry.is_loading = True
                self._start(entry, self._load(entry))
            assert entry.work is not None, "it was started"
            await asyncio.shield(entry.work)
        return entry.served

    def _refuse_now(self, entry: ModelEntry) -> None:
        """ApiError 503 if no load may begin."""
        self._check_open()
        failure = entry.recent_failure()
        if failure is not None:
            raise _as_unavailable(entry, failure.error,
                                  retry_after=max(1, round(failure.until - time.monotonic())))

    def _start(self, entry: ModelEntry, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a load or an unload as a task of its own: it goes on if the request that began it ends."""
        task = entry.work = asyncio.get_running_loop().create_task(self._at_work(entry, work))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())      # was told to who waited
        return task

    async def _at_work(self, entry: ModelEntry, work: Coroutine[Any, Any, None]) -> None:
        """`work`. The task itself says that it has ended: a request that came before a callback did would wait for a
        task that is done, without ever giving the event loop back.
        """
        try:
            await work
        finally:
            entry.work, entry.is_loading = None, False
            if entry.num_users == 0:
                self._set_timer(entry)
            self._tell_change()

    async def _load(self, entry: ModelEntry) -> None:
        started = time.monotonic()
        try:
            await self._start_engine(entry, started + self._load_timeout)
        except Exception as error:
            if not isinstance(error, ApiError):      # which says what there is now, and may be over at once
                entry.failed(error)
            logger.error("model %s could not be loaded: %s", entry.name, error,
                         exc_info=None if isinstance(error, WeftError | ApiError | OSError) else error)
            raise _as_unavailable(entry, error, retry_after=1) from error
        logger.info("model %s is loaded: %s, after %.1f s", entry.name, human_bytes(entry.memory_bytes),
                    time.monotonic() - started)

    async def _start_engine(self, entry: ModelEntry, end: float) -> None:
        """Starts the model's engine. While it waits for room that models in use hold, others may be loaded.

        end: seconds of `time.monotonic`. ApiError 503 with the numbers when the time is over.
        """
        loader = self._loader
        assert loader is not None, "a model without a loader is never unloaded"
        config = await in_own_thread(_config_of, entry, loader)
        while True:
            async with self._turn:
                changed = self._changed      # of now: what changes from here on is noticed
                refusal = await self._try_to_start(entry, config, loader)
            if refusal is None:
                return
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await changed.wait()
            except TimeoutError:
                raise refusal from None

    async def _try_to_start(self, entry: ModelEntry, config: EngineConfig, loader: EngineLoader) -> ApiError | None:
        """Starts the engine, for which idle models make room. Returns why there is no room yet, or None."""
        self._check_open()
        limit = None
        try:
            if any(other.memory_bytes for other in self.entries):
                if entry.need is None:
                    entry.need = await in_own_thread(loader.measure, config)
                room = await self._room_beside_users(entry, entry.need.least_bytes, loader.budget_bytes)
                limit = room.free_bytes
                if limit < entry.need.least_bytes:
                    loader.drop()
                    return room.refusal(entry.name, entry.need.least_bytes, loader.budget_bytes)
            self._check_open()
        except BaseException:
            loader.drop()
            raise
        engine = await in_own_thread(loader.start, config, limit)
        try:
            served = await in_own_thread(self._served, entry, engine)      # reads from the files of weights
            self._check_open()
            entry.loaded(served)
        except BaseException:
            await in_own_thread(engine.shutdown)
            raise
        return None

    def _unload(self, entry: ModelEntry) -> asyncio.Task[None]:
        """Begins to unload the model: from now on no request gets it."""
        served = entry.served
        assert served is not None, "only a loaded model is unloaded"
        entry.leaves()
        return self._start(entry, self._shut_down(entry, served.engine))

    async def _shut_down(self, entry: ModelEntry, engine: AsyncLLM) -> None:
        await in_own_thread(engine.shutdown)
        entry.has_left()
        logger.info("model %s is unloaded", entry.name)

    async def _room_beside_users(self, entry: ModelEntry, least_bytes: int, budget_bytes: int) -> Room:
        """Unloads idle models, the least recently used first, until `least_bytes` are free or none is idle."""
        while True:
            self._check_open()
            room = room_for(budget_bytes, self.entries)
            if room.free_bytes >= least_bytes or room.to_unload is None:
                return room
            logger.info("model %s makes room for %s", room.to_unload.name, entry.name)
            await self._unload(room.to_unload)

    def _set_timer(self, entry: ModelEntry) -> None:
        """Unloads the model when it has been idle for so long."""
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        if entry.served is not None and entry.keep_alive != FOREVER and self._loader is not None:
            entry.timer = asyncio.get_running_loop().call_later(entry.keep_alive, self._time_is_over, entry)

    def _time_is_over(self, entry: ModelEntry) -> None:
        entry.timer = None
        if entry.is_idle:
            self._unload(entry)
        # A paused model stays: the end of the request that resumes it sets the timer anew.

    def _check_open(self) -> None:
        if self._is_closed:
            raise ApiError(503, "The server stops.")

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _wake(self) -> None:
        """Lets a load that waits for room see that the pool is closed. Called from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):      # the loop has ended, and with it who waits
                self._loop.call_soon_threadsafe(self._tell_change)


def _config_of(entry: ModelEntry, loader: EngineLoader) -> EngineConfig:
    """The engine's config. Plugins run meanwhile, which may register parsers: their names are checked afterwards."""
    config = loader.resolve(entry.spec.args)
    entry.spec.check_parsers()
    return config


def _as_unavailable(entry: ModelEntry, error: Exception, *, retry_after: int) -> ApiError:
    """The error for requests of a model that could not be loaded. Only texts without paths go to clients."""
    if isinstance(error, ApiError):
        return error
    text = str(error) if isinstance(error, MemoryPlanError | EngineDeadError) else "The server's log says why."
    return ApiError(503, f"The model {entry.name!r} could not be loaded. {text}", retry_after=retry_after)

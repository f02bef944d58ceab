"""`ProcessClient`: the engine in a supervised child process.

The client keeps each open sequence's request and tokens. When the child dies, the client starts another child and the
sequences go on from their last tokens with unchanged draws, because sampling is counter-based. A sequence that was
running at two deaths fails, as it may be the cause. After three deaths within 60 s the client gives up.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

import msgspec

from weft.config.engine_config import EngineConfig
from weft.engine.process.child import Child
from weft.engine.process.messages import EngineOutput, EngineRequest, EngineStats, StepResult
from weft.engine.process.resume import OpenSequence, StatsTotal, running_ids
from weft.engine.process.spare import CORE, Spare
from weft.engine.process.wire import (
    Abort,
    Add,
    Call,
    FromEngine,
    Rejected,
    Reply,
    SetVocabulary,
    Stepped,
    from_wire,
)
from weft.errors import EngineDeadError, RequestError, WeftError
from weft.grammar.vocabulary import Vocabulary
from weft.sampling_params import SamplingParams

logger = logging.getLogger(__name__)
MAX_DEATHS = 3              # deaths within DEATH_WINDOW_S seconds after which the client gives up
DEATH_WINDOW_S = 60.0
MAX_DEATHS_OF_SEQUENCE = 2  # deaths while a sequence was running after which the sequence fails

Event = StepResult | Rejected | EngineDeadError


class ProcessClient:
    """Starts the child, blocks until the child is ready, and drives it. Any thread may call any method.

    spare: becomes the first child; None: one is started. Its `core_factory` is that of all later children.
    deliver: called from the reading thread with each StepResult and each Rejected; once, as the last call, with the
        EngineDeadError if the engine has ended for good.
    Raises the engine's own error if it could not start (ConfigError, CheckpointError, MemoryPlanError), or
    EngineDeadError if the process ended without a message.
    """

    def __init__(self, config: EngineConfig, deliver: Callable[[Event], None], spare: Spare | None = None) -> None:
        spare = spare or Spare(CORE)
        self._config, self._deliver, self._core_factory = config, deliver, spare.core_factory
        self._lock = threading.Lock()      # guards the fields below
        self._sequences: dict[str, OpenSequence] = {}
        self._calls: dict[int, Future[Any]] = {}
        self._call_ids = itertools.count()
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._stats = StatsTotal()
        self._vocabulary: SetVocabulary | None = None
        self._dead: EngineDeadError | None = None
        self._is_closing = False
        self._child: Child | None = Child(config, spare)
        self.info = self._child.info
        self._thread = threading.Thread(target=self._supervise, args=(self._child,), name="weft-engine", daemon=True)
        self._thread.start()

    @property
    def stats(self) -> EngineStats:
        """The statistics after the last step. Counters continue across restarts."""
        return self._stats.latest

    @property
    def pid(self) -> int | None:
        """The child's process id; None during a restart."""
        child = self._child
        return child and child.pid

    def check_health(self) -> None:
        """EngineDeadError if the engine has ended for good. A restarting engine counts as healthy."""
        if self._dead is not None:
            raise EngineDeadError(str(self._dead))

    def add(self, request: EngineRequest) -> None:
        """Send a sequence to the engine. During a restart the sequence waits in this client.

        RequestError for parameters that cannot go to another process.
        """
        _refuse_what_cannot_be_sent(request)
        with self._lock:
            self.check_health()
            self._sequences[request.request_id] = OpenSequence(request)
            self._send(Add(request))

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The bytes of the model's tokens, before the first request with a grammar. A restarted child gets it too."""
        with self._lock:
            self._vocabulary = SetVocabulary(vocabulary)
            self._send(self._vocabulary)

    def abort(self, request_ids: Iterable[str]) -> None:
        """Drop sequences. Nothing more is delivered for them; the engine drops them after its current step."""
        with self._lock:
            known = [i for i in request_ids if self._sequences.pop(i, None) is not None]
            if known:
                self._send(Abort(known))

    def call(self, method: str, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `reset_prefix_cache` or `collective_rpc` in the child. The future holds the result or a WeftError."""
        future: Future[Any] = Future()
        with self._lock:
            self.check_health()
            if self._child is None:
                raise EngineDeadError("The engine process is being started again; try later.")
            call_id = next(self._call_ids)
            self._calls[call_id] = future
            self._send(Call(call_id=call_id, method=method, args=list(args), kwargs=kwargs))
        return future

    def close(self) -> None:
        """End the child and wait for it."""
        with self._lock:
            if self._is_closing:
                return
            self._is_closing = True
            self._dead = self._dead or EngineDeadError("The engine is closed.")
            child = self._child
        if child is not None:
            child.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._fail_calls(EngineDeadError("The engine is closed."))

    def _send(self, message: Any) -> None:
        if self._child is not None:
            self._child.send(message)

    def _supervise(self, child: Child | None) -> None:
        """The supervising thread: reads until the child dies, then starts the next one, until closed or given up."""
        while child is not None:
            for message in child.messages():
                self._handle(message)
            child = self._replace(child)

    def _handle(self, message: FromEngine) -> None:
        if isinstance(message, Stepped):
            result = message.result
            with self._lock:
                result.outputs = [o for output in result.outputs if (o := self._record(output)) is not None]
                result.stats = self._stats.add(result.stats)
            self._deliver(result)
        elif isinstance(message, Rejected):
            with self._lock:
                is_open = self._sequences.pop(message.request_id, None) is not None
            if is_open:
                self._deliver(message)
        elif isinstance(message, Reply):
            with self._lock:
                future = self._calls.pop(message.call_id, None)
            if future is not None:
                _resolve(future, message)

    def _record(self, output: EngineOutput) -> EngineOutput | None:
        sequence = self._sequences.get(output.request_id)
        if sequence is None:      # aborted in the meantime
            return None
        if output.finish_reason is not None:
            del self._sequences[output.request_id]
        return sequence.record(output)

    def _replace(self, child: Child) -> Child | None:
        """After a child's death: the next child with all open sequences, or None if closed or given up."""
        reason = f"The engine process ended unexpectedly (exit code {child.close()})."
        was_running = True
        while True:
            with self._lock:
                self._child = None
                if self._is_closing:
                    return None
                failed = self._note_death(reason, was_running=was_running)
            self._fail_calls(EngineDeadError(reason))
            if failed:
                self._deliver(StepResult(outputs=failed, stats=self.stats))
            if self._dead is not None:
                self._deliver(self._dead)
                return None
            try:
                started = Child(self._config, Spare(self._core_factory))
            except (WeftError, OSError) as error:
                reason, was_running = f"The engine process could not be started again: {error}", False
                continue
            return self._adopt(started)

    def _note_death(self, reason: str, *, was_running: bool) -> list[EngineOutput]:
        """Counts a death; gives up, or returns outputs that fail sequences with two deaths. The caller holds the lock.

        was_running: False if the new child died while it started, so no sequence can be the cause.
        """
        now = time.monotonic()
        self._deaths.append(now)
        if len(self._deaths) == MAX_DEATHS and now - self._deaths[0] <= DEATH_WINDOW_S:
            self._dead = EngineDeadError(f"{reason} It stays down after {MAX_DEATHS} deaths in {DEATH_WINDOW_S:.0f} s.")
            logger.error("%s", self._dead)
            self._sequences.clear()
            return []
        failed = []
        for request_id in running_ids(self._sequences, self._config.scheduler) if was_running else ():
            sequence = self._sequences[request_id]
            sequence.num_deaths += 1
            if sequence.num_deaths >= MAX_DEATHS_OF_SEQUENCE:
                del self._sequences[request_id]
                failed.append(EngineOutput(request_id=request_id, finish_reason="error", error=(
                    f"{reason} The request was running at {sequence.num_deaths} such ends and is not tried again.")))
        logger.warning("%s It is started again; %d sequences go on, %d are failed.", reason, len(self._sequences),
                       len(failed))
        return failed

    def _adopt(self, child: Child) -> Child | None:
        with self._lock:
            if not self._is_closing:
                self._stats.restart()
                self._child, self.info = child, child.info
                if self._vocabulary is not None:
                    child.send(self._vocabulary)
                for sequence in self._sequences.values():
                    child.send(Add(sequence.resumed()))
                return child
        child.close()
        return None

    def _fail_calls(self, error: EngineDeadError) -> None:
        with self._lock:
            calls, self._calls = self._calls, {}
        for future in calls.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


def _refuse_what_cannot_be_sent(request: EngineRequest) -> None:
    params = request.params
    if not isinstance(params, SamplingParams):
        return
    if params.logits_processors:
        raise RequestError("logits_processors", params.logits_processors, expected="None where the engine runs in a "
                           "process of its own", hint="Give the engine a class instead (logits_processors="
                           "[\"module:Class\"]), and extra_args to the request.")
    if params.extra_args:
        try:
            msgspec.msgpack.encode(params.extra_args)
        except (TypeError, ValueError, OverflowError) as error:
            raise RequestError("extra_args", params.extra_args, expected="plain data (numbers, texts, lists)",
                               hint=str(error)) from error


def _resolve(future: Future[Any], reply: Reply) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if reply.error is not None:
        future.set_exception(from_wire(reply.error))
    else:
        future.set_result(reply.value)

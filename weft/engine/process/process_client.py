"""`ProcessClient`: the engine in a supervised child process.

The client keeps each open sequence's request and tokens. When the child dies, the client makes a child of the waiting
spare process and the sequences go on from their last tokens with unchanged draws, because sampling is counter-based.
`suspects.py` finds a sequence that ends the process again and again; `attempts.py` says when the client gives up.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

import msgspec

from weft.config.engine_config import EngineConfig
from weft.engine.process.attempts import STEADY_S, Attempts
from weft.engine.process.child import Child
from weft.engine.process.messages import EngineOutput, EngineRequest, EngineStats, StepResult
from weft.engine.process.progress import Progress
from weft.engine.process.rest import Rest
from weft.engine.process.resume import OpenSequence, StatsTotal
from weft.engine.process.spare import CORE, Spare, Spares
from weft.engine.process.suspects import Suspects
from weft.engine.process.wire import (
    Abort,
    Add,
    Call,
    FromEngine,
    Rejected,
    Reply,
    SetVocabulary,
    Started,
    Stepped,
    from_wire,
)
from weft.errors import EngineDeadError, RequestError, WeftError
from weft.grammar.vocabulary import Vocabulary
from weft.sampling_params import SamplingParams

logger = logging.getLogger(__name__)
_NO_CHILD = ("The engine process is being started again; try later.", "The engine sleeps: wake it up first.")

Event = StepResult | Rejected | EngineDeadError


class ProcessClient:
    """Starts the child, blocks until the child is ready, and drives it. Any thread may call any method.

    spare: becomes the first child; None: one is started. Its `core_factory` is that of all later children.
    spares: where the processes of restarts come from; they are the caller's, who closes them. None: restarts start one.
    deliver: called from the reading thread with each StepResult and each Rejected; once, as the last call, with the
        EngineDeadError if the engine has ended for good.
    Raises the engine's own error if it could not start (ConfigError, CheckpointError, MemoryPlanError), or
    EngineDeadError if the process ended without a message.
    """

    def __init__(self, config: EngineConfig, deliver: Callable[[Event], None], spare: Spare | None = None, *,
                 spares: Spares | None = None, attempts: Attempts | None = None) -> None:
        spare = spare or Spare(CORE)
        self._config, self._deliver = config, deliver
        self._spares = spares or Spares(spare.core_factory, keeps=False)
        self._lock = threading.Lock()      # guards the fields below
        self._sequences: dict[str, OpenSequence] = {}
        self._calls: dict[int, Future[Any]] = {}
        self._call_ids = itertools.count()
        self._suspects = Suspects()
        self._attempts = attempts or Attempts()
        self._stats = StatsTotal()
        self._vocabulary: SetVocabulary | None = None
        self._dead: EngineDeadError | None = None
        self._closing = threading.Event()
        self._starting: Spare | None = None      # the process of a restart, until it is ready
        self._rest: Rest | None = None           # while the child is ended on purpose
        self._child: Child | None = Child(config, spare)
        self._ready_time = time.monotonic()
        self._progress = Progress(self._ready_time)
        self.info = self._child.info
        self._spares.refill()
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

    @property
    def dead_error(self) -> EngineDeadError | None:
        """Why the engine has ended for good; None while it has not."""
        return self._dead

    def check_health(self) -> None:
        """EngineDeadError if the engine has ended for good. A restarting engine counts as healthy."""
        if self._dead is not None:
            raise EngineDeadError(str(self._dead))

    def complaint(self, limit_s: float) -> str | None:
        """What has lasted longer than `limit_s` seconds: a restart, silence, no token for what is open; or None."""
        with self._lock:
            return self._progress.complaint(time.monotonic(), limit_s, num_open=len(self._sequences))

    def add(self, request: EngineRequest) -> None:
        """Send a sequence to the engine. During a restart and a search for suspects it waits in this client.

        RequestError for parameters that cannot go to another process.
        """
        _refuse_what_cannot_be_sent(request)
        with self._lock:
            self.check_health()
            if not self._sequences:
                self._progress.began(time.monotonic())
            self._sequences[request.request_id] = OpenSequence(request)
            self._send_waiting([request.request_id])

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The bytes of the model's tokens, before the first request with a grammar. A restarted child gets it too."""
        with self._lock:
            self._vocabulary = SetVocabulary(vocabulary)
            if self._child is not None:
                self._child.send(self._vocabulary)

    def abort(self, request_ids: Iterable[str]) -> None:
        """Drop sequences. Nothing more is delivered for them; the engine drops them after its current step."""
        with self._lock:
            known = [sequence for i in request_ids if (sequence := self._sequences.pop(i, None)) is not None]
            sent = [sequence.request.request_id for sequence in known if sequence.is_sent]
            if sent and self._child is not None:
                self._child.send(Abort(sent))
            self._let_go(sequence.request.request_id for sequence in known)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `reset_prefix_cache`, `reset_mm_cache` or `collective_rpc` in the child. The future holds the result, or
        a WeftError."""
        future: Future[Any] = Future()
        with self._lock:
            self.check_health()
            if self._child is None:
                raise EngineDeadError(_NO_CHILD[self._rest is not None])
            call_id = next(self._call_ids)
            self._calls[call_id] = future
            self._child.send(Call(call_id=call_id, method=method, args=list(args), kwargs=kwargs))
        return future

    @property
    def is_resting(self) -> bool:
        """True from `rest` until `wake` returns."""
        return self._rest is not None

    def rest(self) -> None:
        """End the child, which gives all its memory back, until `wake`. Sequences that come wait in this client.

        EngineDeadError if there is no child.
        """
        with self._lock:
            self.check_health()
            child = self._child
            if child is None:
                raise EngineDeadError(_NO_CHILD[self._rest is not None])
            self._rest, self._child = Rest(), None
            self._progress.rests()
        child.close()

    def wake(self) -> None:
        """Start a child after `rest`, and wait until it is ready. EngineDeadError if none can be started."""
        if (rest := self._rest) is not None:
            rest.wake()

    def kill(self) -> None:
        """End the child at once, in the middle of a step. `close` must follow."""
        with self._lock:
            self._closing.set()
            self._dead = self._dead or EngineDeadError("The engine is closed.")
            if self._starting is not None:
                self._starting.kill()
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """End the child after its step, and wait for it. Callable a second time."""
        with self._lock:
            self._closing.set()
            self._dead = self._dead or EngineDeadError("The engine is closed.")
            if self._starting is not None:
                self._starting.kill()
            child, rest = self._child, self._rest
        if rest is not None:
            rest.end(EngineDeadError("The engine is closed."))
        if child is not None:
            child.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._fail_calls(EngineDeadError("The engine is closed."))

    def _send_waiting(self, request_ids: Iterable[str]) -> None:
        """Sends those sequences that the child does not have and that may run. The caller holds the lock."""
        if self._child is None:
            return
        for request_id in request_ids:
            sequence = self._sequences[request_id]
            if not sequence.is_sent and self._suspects.may_run(request_id):
                sequence.is_sent = True
                self._child.send(Add(sequence.resumed()))

    def _let_go(self, request_ids: Iterable[str]) -> None:
        """Notes sequences that have ended. The caller holds the lock."""
        if self._suspects.is_empty:
            return
        if any([self._suspects.ended(request_id) for request_id in request_ids]):
            self._send_waiting(self._sequences)

    def _supervise(self, child: Child | None) -> None:
        """The supervising thread: reads until the child dies, then starts the next one, until closed or given up."""
        while child is not None:
            for message in child.messages():
                self._handle(message)
            child = self._replace(child)

    def _handle(self, message: FromEngine) -> None:
        has_moved = isinstance(message, Stepped) and message.result.stats.step_tokens > 0
        self._progress.heard(time.monotonic(), has_moved=has_moved)
        if isinstance(message, Stepped):
            result = message.result
            with self._lock:
                if result.outputs:
                    self._attempts.progressed()
                result.outputs = [o for output in result.outputs if (o := self._record(output)) is not None]
                result.stats = self._stats.add(result.stats)
            self._deliver(result)
        elif isinstance(message, Started):
            with self._lock:
                for request_id in message.request_ids:
                    if request_id in self._sequences:
                        self._sequences[request_id].is_running = True
        elif isinstance(message, Rejected):
            with self._lock:
                is_open = self._sequences.pop(message.request_id, None) is not None
                self._let_go([message.request_id])
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
            self._let_go([output.request_id])
        elif not self._suspects.is_empty and self._suspects.cleared(output.request_id):
            self._send_waiting(self._sequences)
        return sequence.record(output)

    def _replace(self, child: Child) -> Child | None:
        """After a child's end: the next child with the open sequences, or None if closed or given up."""
        if (rest := self._rest) is not None:
            self._fail_calls(EngineDeadError(_NO_CHILD[True]))
            rest.wait()
            with self._lock:
                self._progress.died(time.monotonic())
            return self._start_again("The engine rested.", is_vain=False)
        reason = f"The engine process ended unexpectedly (exit code {child.close()})."
        return self._start_again(reason, is_vain=self._blame(reason))

    def _start_again(self, reason: str, *, is_vain: bool) -> Child | None:
        while not self._closing.is_set():
            self._fail_calls(EngineDeadError(reason))
            pause = self._attempts.failed() if is_vain else 0.0
            if pause is None:
                self._give_up(reason)
                return None
            logger.warning("%s It is started again; %d sequences go on.", reason, len(self._sequences))
            if self._closing.wait(pause):
                return None
            try:
                return self._adopt(self._start())
            except (WeftError, OSError) as error:      # a death while loading counts for no sequence
                reason, is_vain = f"The engine process could not be started again: {error}", True
        return None

    def _blame(self, reason: str) -> bool:
        """Notes the death of a running engine; fails the sequence that it shows to be the cause, if it shows one.

        Returns True if the process had lived in vain (`Attempts`).
        """
        with self._lock:
            self._child = None
            self._stats.died()
            self._progress.died(time.monotonic())
            if time.monotonic() - self._ready_time >= STEADY_S:
                self._attempts.progressed()
            running = [request_id for request_id, sequence in self._sequences.items() if sequence.is_running]
            guilty, is_narrowed = self._suspects.died(running)
            if guilty is not None:
                del self._sequences[guilty]
        if self._suspects.is_searching:
            logger.warning("The engine died again at the same sequences: they are tried in parts, the others wait.")
        if guilty is not None:
            error = f"{reason} The request was computed alone then, and died there before: it is not tried again."
            logger.error("request %s: %s", guilty, error)
            self._deliver(StepResult(outputs=[EngineOutput(request_id=guilty, finish_reason="error", error=error)],
                                     stats=self.stats))
        return guilty is not None or not (running or is_narrowed)

    def _give_up(self, reason: str) -> None:
        with self._lock:
            self._dead = EngineDeadError(f"{reason} It stays down after {self._attempts.max_vain} starts in a row "
                                         "that brought no output.")
            self._sequences.clear()
            rest, self._rest = self._rest, None
        if rest is not None:
            rest.end(self._dead)
        logger.error("%s", self._dead)
        self._fail_calls(self._dead)
        self._deliver(self._dead)

    def _start(self) -> Child:
        spare = self._spares.take()
        with self._lock:
            self._starting = spare
            if self._closing.is_set():
                spare.kill()
        try:
            return Child(self._config, spare)
        finally:
            self._starting = None

    def _adopt(self, child: Child) -> Child | None:
        self._spares.refill()
        with self._lock:
            if not self._closing.is_set():
                self._stats.restart()
                self._child, self.info, self._ready_time = child, child.info, time.monotonic()
                self._progress.ready(self._ready_time)
                if self._vocabulary is not None:
                    child.send(self._vocabulary)
                for sequence in self._sequences.values():
                    sequence.is_sent = sequence.is_running = False
                self._send_waiting(self._sequences)
                rest, self._rest = self._rest, None
                if rest is not None:
                    rest.end()
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

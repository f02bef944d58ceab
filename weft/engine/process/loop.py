"""The child process: one engine core, driven by messages from the parent's `ProcessClient`.

The process ends when the parent's end of the socket closes, so no engine outlives its parent. A bad message or request
gets an error as its answer. An exception out of a step ends the process, and the parent starts another one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import msgspec

from weft.compat.vllm.version import ANSWER
from weft.config.affinity import keep_process_to
from weft.config.collector import spare_collector
from weft.config.log_format import LOG_FORMAT, LOG_TIME
from weft.engine.process.client import Core, CoreMaker, core_maker
from weft.engine.process.messages import MemoryNeed, StepResult
from weft.engine.process.wire import (
    Abort,
    Add,
    Alive,
    Call,
    Channel,
    Failed,
    Measured,
    Ready,
    Rejected,
    Reply,
    SetVocabulary,
    Start,
    Started,
    Stepped,
    ToEngine,
    to_wire,
)
from weft.errors import NotBuiltError, WeftError
from weft.extend.plugins import load_plugins
from weft.models.registry.crossing import register_sent

logger = logging.getLogger(__name__)
_IDLE_POLL_MS = 1000      # how often an idle child says that it lives, and looks whether its parent does


class EngineLoop:
    """Reads arrived messages between two steps; waits for a message when there is nothing to compute."""

    def __init__(self, core: Core, channel: Channel, parent_pid: int) -> None:
        self._core, self._channel, self._parent_pid = core, channel, parent_pid
        self._decoder = msgspec.msgpack.Decoder(ToEngine)

    def run(self) -> None:
        """Runs until the parent goes away; then EOFError or OSError."""
        while True:
            self._receive()
            if self._core.has_unfinished:
                self._channel.send(Stepped(self._core.step()))
                for request_id, error in self._core.take_rejected():
                    self._channel.send(Rejected(request_id, to_wire(error)))

    def _receive(self) -> None:
        frames = self._channel.receive(timeout_ms=0 if self._core.has_unfinished else _IDLE_POLL_MS)
        if not frames and os.getppid() != self._parent_pid:      # a fork of the parent may keep the socket open
            raise EOFError
        if not frames and not self._core.has_unfinished:
            self._channel.send(Alive())
        while frames:
            for frame in frames:
                self._handle(frame)
            frames = self._channel.receive(timeout_ms=0)

    def _handle(self, frame: bytes) -> None:
        try:
            message = self._decoder.decode(frame)
        except msgspec.MsgspecError as error:
            self._reject_frame(frame, error)
            return
        if isinstance(message, Add):
            self._add(message)
        elif isinstance(message, Abort):
            self._abort(message)
        elif isinstance(message, SetVocabulary):
            self._core.set_vocabulary(message.vocabulary)
        elif isinstance(message, Call):
            self._channel.send(self._call(message))

    def _abort(self, message: Abort) -> None:
        self._core.abort(message.request_ids)
        if not self._core.has_unfinished:      # no step follows that would report the new statistics
            self._channel.send(Stepped(StepResult(outputs=[], stats=self._core.stats)))

    def _add(self, message: Add) -> None:
        request_id = message.request.request_id
        try:
            self._core.add(message.request)
        except BaseException as error:      # fails this request only, not the engine
            if not isinstance(error, WeftError):
                logger.exception("request %s could not be added", request_id)
            self._channel.send(Rejected(request_id, to_wire(error)))

    def _call(self, call: Call) -> Reply:
        try:
            if call.method in ("reset_prefix_cache", "reset_mm_cache"):
                return Reply(call_id=call.call_id, value=getattr(self._core, call.method)())
            if call.method == "collective_rpc":
                return Reply(call_id=call.call_id, value=_plain(self._core.collective_rpc(*call.args, **call.kwargs)))
            raise NotBuiltError("method", call.method, expected="reset_prefix_cache, reset_mm_cache or "
                                "collective_rpc")
        except BaseException as error:      # goes to the caller
            return Reply(call_id=call.call_id, error=to_wire(error))

    def _reject_frame(self, frame: bytes, error: msgspec.MsgspecError) -> None:
        """Logs a message that fits no schema; its request, if the message names one, is rejected with the reason."""
        logger.error("a message to the engine could not be read: %s", error)
        request_id = _request_id(frame)
        if request_id is not None:
            self._channel.send(Rejected(request_id, to_wire(error)))


def serve(channel: Channel, parent_pid: int, core_factory: str) -> None:
    """Import the core's module, build the core that the first message describes, run it until the parent goes away."""
    try:
        with _reported(channel):
            make_core = core_maker(core_factory)      # imports torch, while the parent reads its options and files
        start = _await_start(channel, parent_pid)
        while start.only_measures:
            with _reported(channel):
                channel.send(Measured(_measured(start, make_core)))
            start = _await_start(channel, parent_pid)
        with _reported(channel):
            core = _start(start, make_core)
        core.waits_for_grammars = False
        core.faults = (BaseException,)      # nobody but the model's code raises SystemExit or KeyboardInterrupt here
        core.on_start = lambda request_ids: channel.send(Started(request_ids))
        try:
            spare_collector()
            channel.send(Ready(core.info))
            EngineLoop(core, channel, parent_pid).run()
        finally:
            core.close()
    except (EOFError, BrokenPipeError, ConnectionResetError, _CannotStart):
        return      # the parent closed its end of the socket, or was told why


class _CannotStart(Exception):
    """The parent has been told why."""


@contextlib.contextmanager
def _reported(channel: Channel) -> Iterator[None]:
    """Sends any exception of the block to the parent, which raises it; also sys.exit of a user's code."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, WeftError):
            logger.exception("the engine could not start")
        channel.send(Failed(to_wire(error)))
        raise _CannotStart from error


def _await_start(channel: Channel, parent_pid: int) -> Start:
    """The next message, which a spare process waits for. EOFError when the parent has gone."""
    frames: list[bytes] = []
    while not frames:
        frames = channel.receive(timeout_ms=_IDLE_POLL_MS)
        if not frames and os.getppid() != parent_pid:
            raise EOFError
    return msgspec.msgpack.decode(frames[0], type=Start)


def _measured(start: Start, make_core: CoreMaker) -> MemoryNeed:
    _set_up(start)
    return make_core.memory_need(start.config)


def _start(start: Start, make_core: CoreMaker) -> Core:
    _set_up(start)
    return make_core(start.config)


def _set_up(start: Start) -> None:
    """Makes the process what the config expects: its logging, CPUs, plugins and registered models."""
    logging.getLogger("weft").setLevel(start.log_level)
    keep_process_to(start.config.cpus)      # before torch starts its threads, which inherit this thread's affinity
    ANSWER.choose(start.config.vllm_version, start.config.vllm_modules)
    load_plugins(start.config.plugins)
    register_sent(start.models)


def main(fd: int, parent_pid: int, core_factory: str) -> None:
    """Entry point of the child. fd: file descriptor of the child's end of the socket pair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)      # the parent decides what Ctrl-C means
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT, datefmt=LOG_TIME)
    os.set_inheritable(fd, False)
    serve(Channel(socket.socket(fileno=fd)), parent_pid, core_factory)


def _plain(value: Any) -> Any:
    """`value` if msgpack can encode it, otherwise its repr."""
    try:
        msgspec.msgpack.encode(value)
    except (TypeError, OverflowError, ValueError):
        return repr(value)
    return value


def _request_id(frame: bytes) -> str | None:
    try:
        message = msgspec.msgpack.decode(frame)
    except msgspec.MsgspecError:
        return None
    request = message.get("request") if isinstance(message, dict) else None
    request_id = request.get("request_id") if isinstance(request, dict) else None
    return request_id if isinstance(request_id, str) else None

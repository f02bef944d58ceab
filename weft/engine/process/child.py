"""`Child`: one engine process as its parent sees it: started, written to without blocking, read until it ends."""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from weft.config.engine_config import EngineConfig
from weft.engine.process.wire import Channel, Failed, FromEngine, Ready, Start, from_wire
from weft.errors import ConfigError, EngineDeadError

_CLOSE_S = 5.0      # after it, a child that is still in a step is killed
# The child imports what its parent would, whatever its working directory holds.
_BOOT = ("import sys; fd, parent, *sys.path = sys.argv[1:]; "
         "from weft.engine.process.loop import main; main(int(fd), int(parent))")


class Child:
    """A running engine process. Built when the engine is ready.

    Raises what the engine raised when it could not start, EngineDeadError when it ended without a word.
    """

    def __init__(self, config: EngineConfig, core_factory: str) -> None:
        ours, theirs = map(_above_streams, socket.socketpair())
        with theirs:
            # In its own process group, a Ctrl-C in the terminal does not reach it: the parent decides.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), str(os.getpid()), *sys.path],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, process_group=0)
        self.pid = self._process.pid
        self._channel = Channel(ours)
        self._decoder = msgspec.msgpack.Decoder(FromEngine)
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="weft-engine-writer", daemon=True)
        self._writer.start()
        self._close_lock = threading.Lock()
        _refuse_local_class(config)
        self.send(Start(config=config, core_factory=core_factory,
                        log_level=logging.getLogger("weft").getEffectiveLevel()))
        try:
            self.info = self._await_ready()
        except BaseException:      # KeyboardInterrupt too: no process stays behind
            self.close()
            raise

    def send(self, message: Any) -> None:
        """Queue a message; what a dead child does not read is lost."""
        self._outbox.put(message)

    def messages(self) -> Iterator[FromEngine]:
        """What the child says, until it ends or `close` is called. For one thread."""
        while True:
            try:
                frames = self._channel.receive(timeout_ms=None)
            except (EOFError, OSError):      # OSError: closed by another thread
                return
            for frame in frames:
                yield self._decoder.decode(frame)

    def close(self) -> int:
        """End the process if it still runs; its exit code (negative: the signal that ended it)."""
        with self._close_lock:
            self._outbox.put(None)
            self._channel.shutdown()
            try:
                code = self._process.wait(_CLOSE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
            self._writer.join()
            self._channel.close()
            return code

    def _await_ready(self) -> Any:
        for message in self.messages():
            if isinstance(message, Ready):
                return message.info
            if isinstance(message, Failed):
                raise from_wire(message.error)
        raise EngineDeadError(f"The engine process ended before it was ready (exit code {self.close()}).")

    def _write(self) -> None:
        """The thread that writes, so that a child that is busy in a step blocks nobody."""
        while (message := self._outbox.get()) is not None:
            try:
                self._channel.send(message)
            except OSError:      # it died: whoever reads finds out and acts
                return


def _above_streams(sock: socket.socket) -> socket.socket:
    """`sock` on a descriptor above 2: in a process without standard streams the kernel hands out 0 to 2, and the child
    would take its socket for stdin or stdout."""
    if sock.fileno() > 2:
        return sock
    with sock:
        return socket.socket(fileno=fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 3))


def _refuse_local_class(config: EngineConfig) -> None:
    """ConfigError for a class that the child process could not find."""
    cls = config.model.model_class
    if cls is not None and not isinstance(cls, str):
        raise ConfigError("model_class", getattr(cls, "__qualname__", cls), expected="a class that another process can "
                          'import: "module:Class" or "path/file.py:Class"',
                          hint="The engine runs in a process of its own here. Move the class to a file.")

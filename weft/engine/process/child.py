"""`Child`: the parent's handle of one engine: makes it of a spare process, sends without blocking, reads to the end."""

from __future__ import annotations

import logging
import queue
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from weft.config.engine_config import EngineConfig
from weft.engine.process.spare import Spare
from weft.engine.process.wire import Channel, Failed, FromEngine, Ready, Start, from_wire
from weft.errors import ConfigError, EngineDeadError
from weft.models.registry.crossing import names_to_send

_CLOSE_S = 5.0      # seconds that `close` waits for a child before it kills the child


class Child:
    """A running engine process, made of `spare`. The constructor returns when the engine is ready.

    Raises the engine's own error if it could not start; EngineDeadError if the process ended without a message.
    """

    def __init__(self, config: EngineConfig, spare: Spare) -> None:
        self._process, sock = spare.adopt()
        self.pid = self._process.pid
        self._channel = Channel(sock)
        self._decoder = msgspec.msgpack.Decoder(FromEngine)
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="weft-engine-writer", daemon=True)
        self._writer.start()
        self._close_lock = threading.Lock()
        try:
            self.send(start_message(config))
            self.info = self._await_ready()
        except BaseException:      # KeyboardInterrupt too: no process stays behind
            self.close()
            raise

    def send(self, message: Any) -> None:
        """Queue a message. A message that a dying child has not read is lost."""
        self._outbox.put(message)

    def messages(self) -> Iterator[FromEngine]:
        """The child's messages, until the child ends or `close` is called. Only one thread may iterate."""
        while True:
            try:
                frames = self._channel.receive(timeout_ms=None)
            except (EOFError, OSError):      # OSError: closed by another thread
                return
            for frame in frames:
                yield self._decoder.decode(frame)

    def kill(self) -> None:
        """End the process at once, in the middle of a step. `close` must follow."""
        self._process.kill()

    def close(self) -> int:
        """End the process if it still runs. Returns its exit code (negative: the number of the signal that ended it).
        """
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
        """The writer thread: a child that is busy in a step blocks this thread only."""
        while (message := self._outbox.get()) is not None:
            try:
                self._channel.send(message)
            except OSError:      # the child died: the reading thread notices and acts
                return


def start_message(config: EngineConfig, *, only_measures: bool = False) -> Start:
    """The message by which a process becomes the engine of `config`. ConfigError for a class that cannot be sent."""
    _refuse_local_class(config)
    return Start(config=config, log_level=logging.getLogger("weft").getEffectiveLevel(), only_measures=only_measures,
                 models=names_to_send(config.model.hf_config.get("architectures", ())))


def _refuse_local_class(config: EngineConfig) -> None:
    """ConfigError if a class was given as an object: only what has a name can be imported in the child."""
    for field, cls in (("model_class", config.model.model_class),
                       *(("logits_processors", cls) for cls in config.logits_processors)):
        if cls is not None and not isinstance(cls, str):
            raise ConfigError(field, getattr(cls, "__qualname__", cls), expected="a class that another process can "
                              'import: "module:Class" or "path/file.py:Class"',
                              hint="The engine runs in a process of its own here. Move the class to a file.")

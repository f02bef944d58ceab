"""Messages between a client and an engine in a child process, and their socket: 4 bytes of length, then msgpack.

Messages have fixed schemas and never use pickle. An error is sent as class name, text and field, and becomes the same
weft error at the other end.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from weft import errors
from weft.config.engine_config import EngineConfig
from weft.engine.process.messages import EngineInfo, EngineRequest, MemoryNeed, StepResult
from weft.grammar.vocabulary import Vocabulary

_LENGTH = struct.Struct(">I")
_READ_BYTES = 1 << 18


class WireError(msgspec.Struct, kw_only=True):
    """An exception in a message. field: the wrong field, or the limit that was met. value: the field's, as text."""

    kind: str
    text: str
    field: str = ""
    value: str = ""
    expected: str = ""


class Start(msgspec.Struct, tag=True, kw_only=True):
    """The first message: what to build. log_level: the level of weft's loggers.

    only_measures: answer with `Measured`, and wait for the next Start.
    models: what the parent registered in its ModelRegistry for the config's architectures (`registry/crossing.py`).
    """

    config: EngineConfig
    log_level: int
    only_measures: bool = False
    models: dict[str, tuple[str, bool]] = {}


class Add(msgspec.Struct, tag=True):
    """A sequence to compute."""

    request: EngineRequest


class SetVocabulary(msgspec.Struct, tag=True):
    """The bytes of the model's tokens, sent before the first sequence with a grammar."""

    vocabulary: Vocabulary


class Abort(msgspec.Struct, tag=True):
    """Sequences to drop."""

    request_ids: list[str]


class Call(msgspec.Struct, tag=True, kw_only=True):
    """A method to call: reset_prefix_cache, reset_mm_cache or collective_rpc. Arguments are plain data."""

    call_id: int
    method: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class Ready(msgspec.Struct, tag=True):
    """The engine has started."""

    info: EngineInfo


class Measured(msgspec.Struct, tag=True):
    """The memory that the model of a Start needs."""

    need: MemoryNeed


class Failed(msgspec.Struct, tag=True):
    """The engine could not start; the process ends."""

    error: WireError


class Alive(msgspec.Struct, tag=True):
    """The engine has nothing to do, and its loop turns."""


class Started(msgspec.Struct, tag=True):
    """Sequences that are computed from now on: if the engine dies, one of those may be the cause."""

    request_ids: list[str]


class Stepped(msgspec.Struct, tag=True):
    """One step's outputs."""

    result: StepResult


class Rejected(msgspec.Struct, tag=True):
    """A sequence that the engine did not take."""

    request_id: str
    error: WireError


class Reply(msgspec.Struct, tag=True, kw_only=True):
    """The result of a Call: `value` or `error`."""

    call_id: int
    value: Any = None
    error: WireError | None = None


ToEngine = Start | Add | Abort | Call | SetVocabulary
FromEngine = Ready | Measured | Failed | Alive | Started | Stepped | Rejected | Reply


def to_wire(error: BaseException) -> WireError:
    """The message for an exception."""
    if isinstance(error, errors.FieldError):
        return WireError(kind=type(error).__name__, text=str(error), field=error.field, value=str(error.value),
                         expected=error.expected)
    if isinstance(error, errors.QueueFullError):
        return WireError(kind="QueueFullError", text=str(error), field=error.limit)
    text = str(error) if isinstance(error, errors.WeftError) else f"{type(error).__name__}: {error}"
    return WireError(kind=type(error).__name__, text=text)


def from_wire(wire: WireError) -> errors.WeftError:
    """The weft error of that name with the same text; any other exception becomes a WeftError."""
    cls = getattr(errors, wire.kind, None)
    if not (isinstance(cls, type) and issubclass(cls, errors.WeftError)):
        return errors.WeftError(wire.text)
    if issubclass(cls, errors.QueueFullError):
        return cls(wire.text, wire.field)
    if not issubclass(cls, errors.FieldError):
        return cls(wire.text)
    error = cls(wire.field, wire.value, expected=wire.expected)
    error.args = (wire.text,)      # the text as it was first written, hint and source included
    return error


class Channel:
    """One end of the socket. `send` and `receive` may run in two threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._poll = select.poll()      # not select(): a server may have more than 1024 files open
        self._poll.register(sock, select.POLLIN)

    def send(self, message: Any) -> None:
        """Write one message. OSError when the other end is gone."""
        body = msgspec.msgpack.encode(message)
        self._sock.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self, *, timeout_ms: int | None) -> list[bytes]:
        """The complete messages that have arrived, undecoded. Waits up to `timeout_ms` ms (None: no limit) for data.

        EOFError if the other end is gone.
        """
        if timeout_ms is None or self._poll.poll(timeout_ms):      # without a limit `recv` itself waits
            try:
                data = self._sock.recv(_READ_BYTES)
            except ConnectionError as error:
                raise EOFError from error
            if not data:
                raise EOFError
            self._buffer += data
        return list(self._frames())

    def shutdown(self) -> None:
        """End the connection. Both ends then read EOF, including a thread that is reading now."""
        with contextlib.suppress(OSError):      # the other end has closed already
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the file descriptor, after `shutdown`."""
        self._sock.close()

    def _frames(self) -> Iterator[bytes]:
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            yield bytes(self._buffer[_LENGTH.size:end])
            del self._buffer[:end]

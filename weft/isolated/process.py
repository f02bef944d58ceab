"""`IsolatedProcess`: runs a function on bytes of strangers, in a process that has limits and can be killed.

A library that meets a hostile input may take minutes or gigabytes, or crash, and no thread can be stopped. The process
is started when it is first needed, and again after its end. `worker.py` is the other end.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from weft.errors import WeftError
from weft.isolated.frames import receive, send

START_SECONDS = 30.0       # for the process's start, on a busy machine
# The process gets the parent's sys.path, so both import the same modules.
_BOOT = ("import sys; work, max_bytes, *sys.path = sys.argv[1:]; "
         "from weft.isolated.worker import main; main(work, int(max_bytes))")


class ProcessEndedError(Exception):
    """The process gave no answer. exit_code: None: it was late, and was killed."""

    def __init__(self, exit_code: int | None) -> None:
        super().__init__()
        self.exit_code = exit_code


class _Running(NamedTuple):
    process: subprocess.Popen[bytes]
    sock: socket.socket


class IsolatedProcess:
    """One process. Threads may ask at the same time: they wait for each other.

    work: "module:function". The function takes what `setup` returns, and returns a function of bytes to bytes.
    purpose: what the process does, for errors: "tries grammars".
    max_bytes: of memory that the work may take beyond what its start took.
    """

    def __init__(self, work: str, purpose: str, *, max_bytes: int, setup: Callable[[], bytes] = bytes) -> None:
        self._work, self._purpose, self._max_bytes, self._setup = work, purpose, max_bytes, setup
        self._running: _Running | None = None
        self._is_closed, self._lock = False, threading.Lock()      # the lock guards both fields
        self._turn = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process's id; None before it is first needed, and after its end."""
        return self._running and self._running.process.pid

    def ask(self, body: bytes, seconds: float, max_answer_bytes: int) -> bytearray:
        """The function's answer. Blocks until it is there or the time is over. ProcessEndedError if there is none;
        WeftError if the process does not start, or after `close`.
        """
        with self._turn:
            running, late = self._alive() or self._started(), False
            until = time.monotonic() + seconds
            try:
                send(running.sock, body, until)
                answer = receive(running.sock, max_answer_bytes, until)
            except TimeoutError:
                answer, late = None, True
            except (OSError, ValueError):      # it ended while it read, or another thread closed it
                answer = None
            if answer is None:
                code = None if late else _ended(running.process)
                self._end()
                raise ProcessEndedError(code)
            return answer

    def close(self) -> None:
        """Ends the process for good, also one that another thread is starting."""
        with self._lock:
            self._is_closed = True
        self._end()

    def _alive(self) -> _Running | None:
        running = self._running
        if running is not None and running.process.poll() is not None:      # it ended while nobody asked
            self._end()
            return None
        return running

    def _end(self) -> None:
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            _kill(running)

    def _started(self) -> _Running:
        running = self._start()
        with self._lock:
            self._running = running
            if not self._is_closed:
                return running
        self._end()
        raise WeftError(f"The process that {self._purpose} is closed.")

    def _start(self) -> _Running:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, self._work, str(self._max_bytes), *sys.path], process_group=0,
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        running, until = _Running(process, ours), time.monotonic() + START_SECONDS
        with contextlib.suppress(OSError, ValueError):
            send(ours, self._setup(), until)
            if receive(ours, 0, until) is not None:      # it is there: its start counts for no work
                return running
        code = _exit_code(process)
        _kill(running)
        raise WeftError(f"The process that {self._purpose} "
                        + (f"ended at its start (exit code {code})." if code is not None else
                           f"was not ready within {START_SECONDS:g} s."))


def _kill(running: _Running) -> None:
    running.process.kill()
    running.process.wait()
    running.sock.close()


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a process that may have closed its socket just now; None while it lives."""
    try:
        return process.wait(0.5)
    except subprocess.TimeoutExpired:
        return None


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Kills a process that has not ended by itself, such as one whose answer is too long. Returns the exit code."""
    code = _exit_code(process)
    if code is None:
        process.kill()
        code = process.wait()
    return code

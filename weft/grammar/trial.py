"""`Trial`: compiles grammars in a process that can be killed, before the engine does it in its own.

Most hostile grammars run into llguidance's own limits; some take minutes or gigabytes, and no thread can be stopped.
`trial_process.py` is the other end. Owned by `compile_pool.py`.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import tempfile
import threading
import time
from typing import NamedTuple

import msgspec

from weft.errors import WeftError
from weft.grammar.form import ConstraintSpec
from weft.grammar.vocabulary import Vocabulary

SECONDS = 5.0              # for one grammar
START_SECONDS = 30.0       # for the process's start, on a busy machine
_BOOT = ("import sys; fd = int(sys.argv[1]); sys.path[:] = sys.argv[2:]; "
         "from weft.grammar.trial_process import main; main(fd)")


class Verdict(msgspec.Struct, array_like=True):
    """What is wrong with a spec; "" if nothing. pointer: the place in a JSON schema; "" for other grammars."""

    error: str = ""
    pointer: str = ""


class _Worker(NamedTuple):
    process: subprocess.Popen[bytes]
    poll: select.poll


class Trial:
    """One process for one thread at a time, started when first needed and again after it was killed."""

    def __init__(self, vocabulary: Vocabulary, seconds: float = SECONDS) -> None:
        self._vocabulary, self._seconds = vocabulary, seconds
        self._worker: _Worker | None = None
        self._is_closed, self._lock = False, threading.Lock()      # the lock guards both fields

    @property
    def pid(self) -> int | None:
        """The process's id; None before it is first needed, and after it was killed."""
        return self._worker and self._worker.process.pid

    def judge(self, spec: ConstraintSpec) -> Verdict:
        """Compiles a spec in the process. Blocks until the spec is compiled or the time is over. WeftError if the
        process does not start, or after `close`.
        """
        worker = self._worker or self._started()
        assert worker.process.stdin is not None and worker.process.stdout is not None, "both are pipes"
        body = msgspec.msgpack.encode(spec)
        try:
            worker.process.stdin.write(len(body).to_bytes(4, "big") + body)
            worker.process.stdin.flush()
            line = self._answer(worker, self._seconds)
        except (OSError, ValueError):      # it ended while it read, or another thread closed it
            line = b""
        if line:
            return msgspec.json.decode(line, type=Verdict)
        code = _exit_code(worker.process)
        self._end()
        return Verdict(f"It is too complex: compiling it took more than {self._seconds:g} s" if code is None else
                       f"It is too complex: compiling it took too much memory, or ended the process (exit code {code})")

    def close(self) -> None:
        """Ends the process for good, also one that another thread is starting."""
        with self._lock:
            self._is_closed = True
        self._end()

    def _end(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.process.kill()
            worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout):
                assert pipe is not None, "both are pipes"
                with contextlib.suppress(BrokenPipeError):      # what was not written goes nowhere
                    pipe.close()

    def _started(self) -> _Worker:
        worker = self._start()
        with self._lock:
            self._worker = worker
            if not self._is_closed:
                return worker
        self._end()
        raise WeftError("The process that tries grammars is closed.")

    def _start(self) -> _Worker:
        with tempfile.TemporaryFile() as file:      # a pipe would block until the process reads
            file.write(msgspec.msgpack.encode(self._vocabulary))
            file.seek(0)
            process = subprocess.Popen([sys.executable, "-c", _BOOT, str(file.fileno()), *sys.path], process_group=0,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[file.fileno()])
        poll = select.poll()
        assert process.stdout is not None, "it is a pipe"
        poll.register(process.stdout, select.POLLIN)
        worker = _Worker(process, poll)
        if self._answer(worker, START_SECONDS):      # it is there: its start counts for no grammar
            return worker
        code = _exit_code(process)
        process.kill()
        process.wait()
        raise WeftError("The process that tries grammars "
                        + (f"ended at its start (exit code {code})." if code is not None else
                           f"was not ready within {START_SECONDS:g} s."))

    def _answer(self, worker: _Worker, seconds: float) -> bytes:
        """The worker's next line; b"" if it ended, or did not answer in time."""
        assert worker.process.stdout is not None, "it is a pipe"
        end, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            if not worker.poll.poll(max(0.0, end - time.monotonic()) * 1000):
                return b""
            part = worker.process.stdout.read1(1 << 16)      # pyright: ignore[reportAttributeAccessIssue]  # buffered
            if not part:
                return b""
            line += part
        return line


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a process that may have closed its pipe just now; None while it lives."""
    try:
        return process.wait(0.5)
    except subprocess.TimeoutExpired:
        return None

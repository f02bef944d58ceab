"""`Spare`: an engine process that has imported everything and waits to be told what to load.

`weft serve` starts one before its own imports, so that both processes import at the same time; `Child` makes an
engine of it. This module imports nothing of weft, because it runs before the rest of weft is imported.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from types import TracebackType

CORE = "weft.engine.core:EngineCore"      # the `core_factory` of a real engine

# The process gets the parent's sys.path, so both import the same modules.
_BOOT = ("import sys; fd, parent, factory, *sys.path = sys.argv[1:]; "
         "from weft.engine.process.loop import main; main(int(fd), int(parent), factory)")


class Spare:
    """Starts the process, and returns while the process still imports.

    core_factory: `module:function` that makes the engine core; the process imports the module.
    sock: this end of its socket.
    A spare ends with its `with` block, unless `adopt` was called.
    """

    def __init__(self, core_factory: str) -> None:
        self.core_factory = core_factory
        self.sock, theirs = map(_above_streams, socket.socketpair())
        with theirs:
            # In its own process group the process gets no Ctrl-C of the terminal: the parent decides.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), str(os.getpid()), core_factory, *sys.path],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, process_group=0)
        self._is_adopted = False

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """False once the process has ended, or belongs to somebody else."""
        return not self._is_adopted and self._process.poll() is None

    def adopt(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """The process and this end of its socket, which are the caller's from now on."""
        assert not self._is_adopted, "a spare becomes one engine"
        self._is_adopted = True
        return self._process, self.sock

    def kill(self) -> None:
        """End the process at once, also one that was adopted."""
        self._process.kill()

    def close(self) -> None:
        """End the process at once, unless it was adopted. It holds nothing that could be lost."""
        if not self._is_adopted:
            self._is_adopted = True
            self._process.kill()
            self._process.wait()
            self.sock.close()

    def __enter__(self) -> Spare:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


class Spares:
    """The spare process that waits while engines run: for the next model, or for an engine that dies. Any thread may
    call any method.

    keeps: False: no process waits, and `take` starts one. delay_s: seconds between `refill` and the start of the next
    spare, whose imports would take a core from the engine's first requests. first: the one that waits now.
    """

    def __init__(self, core_factory: str, *, keeps: bool, delay_s: float = 2.0, first: Spare | None = None) -> None:
        self._core_factory, self._keeps, self._delay_s = core_factory, keeps, delay_s
        self._lock = threading.Lock()
        self._waiting = first
        self._timer: threading.Timer | None = None

    def take(self) -> Spare:
        """The waiting spare, or a new one: the caller's from now on."""
        with self._lock:
            self._cancel()
            spare, self._waiting = self._waiting, None
        if spare is not None and spare.is_alive:
            return spare
        if spare is not None:
            spare.close()      # it ended while it waited
        return Spare(self._core_factory)

    def refill(self) -> None:
        """Starts the next spare after the delay."""
        with self._lock:
            self._cancel()
            if self._keeps:
                self._timer = threading.Timer(self._delay_s, self._start)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """End the waiting spare, and start no other."""
        with self._lock:
            self._keeps = False
            self._cancel()
            spare, self._waiting = self._waiting, None
        if spare is not None:
            spare.close()

    def _start(self) -> None:
        with self._lock:
            if self._keeps and self._waiting is None:
                self._waiting = Spare(self._core_factory)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _above_streams(sock: socket.socket) -> socket.socket:
    """`sock` on a descriptor above 2.

    In a process without standard streams the kernel hands out 0 to 2; the child would take such a socket for stdin or
    stdout.
    """
    if sock.fileno() > 2:
        return sock
    with sock:
        return socket.socket(fileno=fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 3))

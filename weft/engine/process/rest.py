"""`Rest`: the time in which an engine has no process, because its owner asked for its memory."""

from __future__ import annotations

import threading
from concurrent.futures import Future


class Rest:
    """Used by two threads: the one that asks for the end of the rest, and the one that starts the next process."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._woken: Future[None] = Future()

    def wait(self) -> None:
        """Waits until `wake` or `end` is called."""
        self._over.wait()

    def wake(self) -> None:
        """Ends the rest, and waits until the next process is ready. Raises the error of `end`."""
        self._over.set()
        self._woken.result()

    def end(self, error: Exception | None = None) -> None:
        """The next process is ready; error: there is none, and never will be."""
        self._over.set()
        if self._woken.done():
            return
        if error is None:
            self._woken.set_result(None)
        else:
            self._woken.set_exception(error)

"""Opens standard streams that are closed, for processes started without them (by daemons or init scripts)."""

from __future__ import annotations

import os
import sys


def open_missing_streams() -> None:
    """Open /dev/null for each of stdin, stdout and stderr that is closed.

    A command calls this before it opens any file: a child process would take a file or socket with descriptor 0, 1 or 2
    for a standard stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)      # the lowest free descriptor, which is `number`
            os.set_inheritable(number, True)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))

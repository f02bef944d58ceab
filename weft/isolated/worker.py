"""The process of an `IsolatedProcess`: answers the frames that come on its standard input, which is a socket.

It ends with its input, and is killed when it is late. It can take only so much memory, and write no files.
"""

from __future__ import annotations

import importlib
import resource
import socket

import psutil

from weft.isolated.frames import receive, send

_MAX_FRAME_BYTES = 1 << 30
_MAX_SECONDS = 120        # of processor time for one frame; all parents give it less


def main(work: str, max_bytes: int) -> None:
    """Answers until the input ends. work, max_bytes: as in `IsolatedProcess`."""
    sock = socket.socket(fileno=0)
    module, _, name = work.partition(":")
    setup = receive(sock, _MAX_FRAME_BYTES)
    if setup is None:
        return
    answer = getattr(importlib.import_module(module), name)(bytes(setup))
    memory = psutil.Process().memory_info().vms + max_bytes
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (value, value))
    send(sock, b"")
    while (body := receive(sock, _MAX_FRAME_BYTES)) is not None:
        _limit_time()
        send(sock, answer(bytes(body)))


def _limit_time() -> None:
    """Ends this process if the next work takes far too long, should its parent no longer be there to do so."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + _MAX_SECONDS, resource.RLIM_INFINITY))

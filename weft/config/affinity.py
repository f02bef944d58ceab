"""CPU affinity: keeps the calling thread, and the threads it starts, on chosen CPUs. `threads.py` chooses the CPUs.

Affinity is only narrowed, never widened: limits that a user or an operator has set stay. An engine process is narrowed
once, with the threads that its imports have started. In a user's program the calling thread is narrowed for one step at
a time and is free in between; torch's threads start inside a step, so they stay narrowed.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Iterator

logger = logging.getLogger("weft")


def keep_to(cpus: Collection[int]) -> frozenset[int] | None:
    """Restrict the calling thread, and threads it starts later, to those of its CPUs that are in `cpus`.

    Returns the CPUs it was allowed before, or None when nothing has changed: all of its CPUs are in `cpus`, none is, or
    the system has no affinity or refuses the change (threads are then slower, not wrong).
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    before = frozenset(os.sched_getaffinity(0))
    wanted = before.intersection(cpus)
    if not wanted or wanted == before:
        return None
    try:
        os.sched_setaffinity(0, wanted)
    except OSError as error:
        logger.debug("threads cannot be kept to CPUs %s: %s", sorted(wanted), error)
        return None
    return before


def keep_process_to(cpus: Collection[int]) -> None:
    """`keep_to` for the calling thread and all other threads of this process."""
    if keep_to(cpus) is None:
        return
    wanted = os.sched_getaffinity(0)
    with contextlib.suppress(FileNotFoundError):                 # no /proc: the others stay where they are
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):                   # the thread has ended
                os.sched_setaffinity(int(thread), wanted)


@contextlib.contextmanager
def kept_to(cpus: Collection[int]) -> Iterator[None]:
    """`keep_to` for the length of a `with` block; threads started inside the block stay restricted after it."""
    before = keep_to(cpus)
    try:
        yield
    finally:
        if before is not None:
            with contextlib.suppress(OSError):      # an operator took these CPUs away meanwhile: respect that
                os.sched_setaffinity(0, before)

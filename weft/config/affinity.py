"""Keeping threads on chosen CPUs: the calling thread, and those it starts. Knows not why these CPUs.

A thread is never let onto a CPU that it was kept from: what a user or an operator has set stays. An engine's own
process is narrowed once, before it has other threads; in a user's program the calling thread is narrowed for the length
of a step, so that it is as free as before in between, while torch's threads, which start in a step, stay narrowed.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Iterator

logger = logging.getLogger("weft")


def keep_to(cpus: Collection[int]) -> frozenset[int] | None:
    """From now on run the calling thread, and threads it starts, on those of its CPUs that are in `cpus`.

    Returns what it was allowed before; None when nothing has changed: all of its CPUs are in `cpus`, or none is, or the
    system has no affinity or refuses to change it (threads are then slower, not wrong).
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


@contextlib.contextmanager
def kept_to(cpus: Collection[int]) -> Iterator[None]:
    """`keep_to` for a block; the threads that it starts stay where they are told after it."""
    before = keep_to(cpus)
    try:
        yield
    finally:
        if before is not None:
            with contextlib.suppress(OSError):      # an operator has taken these CPUs away meanwhile: that stands
                os.sched_setaffinity(0, before)

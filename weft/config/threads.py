"""How many threads the engine has and on which CPUs they run: decided from the option and the machine's facts.

Threads are not tied to a CPU each: all of them may run on any of the chosen CPUs, which are one of every core. So two
programs that a quota leaves two of 64 cores do not both sit on the first two. `affinity.py` carries it out.
"""

from __future__ import annotations

import logging

from weft.config.fact import Fact
from weft.config.machine import Machine

logger = logging.getLogger("weft")


def resolve_threads(num_threads: int | None, machine: Machine) -> tuple[Fact, Fact]:
    """(number of threads, tuple of the logical CPUs they run on). num_threads: the option, which wins.

    More threads than cores take the SMT siblings too. More than can run at once are a warning in the log.
    """
    if num_threads is None:
        return machine.num_cores, machine.cores
    count = Fact(num_threads, "option num_threads")
    quota = machine.cpu_quota
    if num_threads > len(machine.cpus.value):
        logger.warning("num_threads = %d: only %d can run at once (%s); more slow each other down.", num_threads,
                       len(machine.cpus.value), machine.cpus.source)
    elif quota.value is not None and num_threads > max(1, quota.value):
        logger.warning("num_threads = %d: the system stops them for part of the time, as they have a CPU quota of %g "
                       "(%s). Leave num_threads unset, or raise the quota.", num_threads, quota.value, quota.source)
    return count, machine.cores if num_threads <= len(machine.cores.value) else machine.cpus

"""How many threads the engine has, on which CPUs they run and which nodes' memory they share: decided from the option
and the machine's facts.

Threads are not tied to a CPU each: all of them may run on any of the chosen CPUs, which are one of every core. So two
programs that a quota leaves two of 64 cores do not both sit on the first two. `affinity.py` carries it out.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace

from weft.config.fact import Fact
from weft.config.machine import Machine
from weft.config.topology import NumaNode

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


def nodes_of_threads(num_threads: int, cpus: Collection[int], machine: Machine) -> tuple[NumaNode, ...]:
    """The nodes among which weights are divided, each with those of `cpus` (empty: all) that are next to it.

    Nodes whose memory this process may not use are left out. (): weights are not divided, as for a single node, or for
    one thread, which may run next to any.
    """
    near = (replace(node, cpus=tuple(cpu for cpu in node.cpus if cpu in cpus or not cpus))
            for node in machine.nodes.value)
    nodes = tuple(node for node in near if node.cpus and node.free_bytes)
    return nodes if len(nodes) > 1 and num_threads > 1 else ()

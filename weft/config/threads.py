"""Number of threads, the CPUs they run on and the NUMA nodes they use, decided from the option and the machine's facts.

A thread is not pinned to one CPU: every thread may run on any of the chosen CPUs, which are one of each core. So two
programs with a quota of 2 cores each do not both sit on the first two of 64. `affinity.py` sets the affinity.
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
    """(number of threads, tuple of the logical CPUs they run on). num_threads: the option; None: one thread a core.

    With more threads than cores, the cores' SMT siblings are used too. More threads than can run at once are logged as
    a warning.
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
    """The NUMA nodes that weights are divided among, each with its CPUs out of `cpus` (empty: all its CPUs).

    Nodes whose memory this process may not use are left out. Returns () when weights are not divided: with a single
    node, or with one thread, which may run next to any node.
    """
    near = (replace(node, cpus=tuple(cpu for cpu in node.cpus if cpu in cpus or not cpus))
            for node in machine.nodes.value)
    nodes = tuple(node for node in near if node.cpus and node.free_bytes)
    return nodes if len(nodes) > 1 and num_threads > 1 else ()

"""What this process may use of the machine: cores, memory, caches and instruction sets, each with its source.

All files (`/proc`, `/sys`) are read below `root`, so that tests can lay out a made-up machine. This module does not
import torch and decides nothing: `threads.py` decides how many threads run, and where.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from weft.config.cgroup import Limit, cpu_quota, memory_limits
from weft.config.fact import Fact, sizes_in_kb, system_text
from weft.config.isa import isa_flags
from weft.config.topology import has_topology, l2_bytes, numa_nodes, one_cpu_of_each_core


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine as this process sees it.

    cpus: the logical CPUs this process may run on, ascending.
    cores: one logical CPU of each physical core among `cpus`.
    cpu_quota: CPU time this process gets, in CPUs, or None without a quota.
    num_cores: number of cores this process can keep busy at once: as many as `cores`, or as the quota allows.
    memory_bytes: most memory this process can ever have: the smallest of the cgroup limits and physical memory.
    available_bytes: the part of memory_bytes that is free now, page cache counted as free.
    nodes: a tuple of the NumaNodes that have some of `cpus`; never empty.
    l2_bytes: second-level cache of one core, or None where unknown.
    isa: a frozenset of names from ISA_FLAGS.
    """

    cpus: Fact
    cores: Fact
    cpu_quota: Fact
    num_cores: Fact
    memory_bytes: Fact
    available_bytes: Fact
    nodes: Fact
    l2_bytes: Fact
    isa: Fact

    @classmethod
    def detect(cls, root: Path = Path("/"), *, affinity: Iterable[int] | None = None) -> Machine:
        """Read the machine's files below `root`. affinity: the logical CPUs allowed; None: ask the system."""
        cpus = _allowed_cpus() if affinity is None else _affinity(affinity)
        cores, quota, limits = one_cpu_of_each_core(root, cpus), _quota(root), memory_limits(root)
        available = _available(root, limits)
        return cls(
            cpus=cpus, cores=cores, cpu_quota=quota, num_cores=_num_cores(root, cpus, cores, quota),
            memory_bytes=_memory(root, limits), available_bytes=available,
            nodes=numa_nodes(root, cpus.value, available.value), l2_bytes=l2_bytes(root, cores.value),
            isa=isa_flags(root),
        )


def _allowed_cpus() -> Fact:
    if hasattr(os, "sched_getaffinity"):
        return _affinity(os.sched_getaffinity(0))
    count = os.cpu_count() or 1
    return Fact(tuple(range(count)), f"all {count} CPUs: this system has no affinity")


def _affinity(cpus: Iterable[int]) -> Fact:
    allowed = tuple(sorted(set(cpus)))
    return Fact(allowed, f"affinity of {len(allowed)} CPUs")


def _quota(root: Path) -> Fact:
    quota = cpu_quota(root)
    return Fact(None, "no CPU quota in /sys/fs/cgroup") if quota is None else Fact(quota.value, quota.source)


def _num_cores(root: Path, cpus: Fact, cores: Fact, quota: Fact) -> Fact:
    count = Fact(len(cores.value), cores.source)
    if root == Path("/") and not has_topology(root, cpus.value) and len(cpus.value) == os.cpu_count():
        physical = psutil.cpu_count(logical=False)      # works without /sys, but cannot tell which CPUs share a core
        count = Fact(physical, "physical cores by psutil") if physical else count
    if quota.value is not None and quota.value < count.value:
        return Fact(max(1, int(quota.value)), f"CPU quota of {quota.value:g} in {quota.source}")
    return count


def _memory(root: Path, limits: list[Limit]) -> Fact:
    physical = _meminfo(root).get("MemTotal")
    fact = Fact(physical, "MemTotal in /proc/meminfo") if physical else Fact(psutil.virtual_memory().total, "psutil")
    return min([fact, *(Fact(limit.value, limit.source) for limit in limits)], key=lambda f: f.value)


def _available(root: Path, limits: list[Limit]) -> Fact:
    free = _meminfo(root).get("MemAvailable")
    fact = Fact(free, "MemAvailable in /proc/meminfo") if free else Fact(psutil.virtual_memory().available, "psutil")
    left = [Fact(max(0, limit.value - limit.used), f"{limit.source} less what is used of it") for limit in limits]
    return min([fact, *left], key=lambda f: f.value)


def _meminfo(root: Path) -> dict[str, int]:
    return sizes_in_kb(system_text(root / "proc/meminfo"))

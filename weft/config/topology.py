"""CPU topology: which allowed CPUs are threads of one core, their NUMA nodes and their L2 cache. Used by `machine.py`.

Reads `/sys` and `/proc` below `root`. Where these files say nothing, the returned `Fact.source` names the assumption.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.config.fact import Fact, sizes_in_kb, system_text

_CPU, _NODE = "sys/devices/system/cpu", "sys/devices/system/node"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumaNode:
    """A NUMA node of the machine.

    cpus: the allowed CPUs of this node.
    free_bytes: memory of the node that this process may take now, page cache counted as free; 0 if not allowed any.
    """

    number: int
    cpus: tuple[int, ...]
    free_bytes: int


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The CPUs of a kernel list like `0-3,8`, ascending. Parts that are neither number nor range are left out."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (last or first).isdigit():
            found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def cpu_list(cpus: Sequence[int]) -> str:
    """The kernel's list for these CPUs: `0-3,8` for (0, 1, 2, 3, 8)."""
    ordered = sorted(cpus)
    runs = [[cpu for _, cpu in run] for _, run in itertools.groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def one_cpu_of_each_core(root: Path, cpus: Fact) -> Fact:
    """The first CPU of each core; all of `cpus` when the system does not tell which CPUs share a core."""
    siblings = {cpu: _siblings(root, cpu) for cpu in cpus.value}
    if not all(siblings.values()):
        return Fact(cpus.value, f"{cpus.source}, topology unknown")
    first_of_core: dict[tuple[int, ...], int] = {}
    for cpu in cpus.value:
        first_of_core.setdefault(siblings[cpu], cpu)
    chosen = tuple(first_of_core.values())
    left_out = len(cpus.value) - len(chosen)
    return Fact(chosen, cpus.source + (f", {left_out} SMT siblings left out" if left_out else ""))


def has_topology(root: Path, cpus: Sequence[int]) -> bool:
    """Whether the system tells which of these CPUs share a core."""
    return all(_siblings(root, cpu) for cpu in cpus)


def numa_nodes(root: Path, cpus: Sequence[int], available_bytes: int) -> Fact:
    """The NUMA nodes that have some of `cpus`; one node with all of `cpus` when the system lists no nodes.

    available_bytes: free memory of that one node.
    """
    allowed = parse_cpu_list(_status(root, "Mems_allowed_list"))
    nodes = []
    for folder in (root / _NODE).glob("node[0-9]*"):
        number = int(folder.name.removeprefix("node"))
        near = tuple(cpu for cpu in parse_cpu_list(system_text(folder / "cpulist")) if cpu in cpus)
        if near:
            may_use = not allowed or number in allowed
            nodes.append(NumaNode(number=number, cpus=near, free_bytes=_node_free(folder) if may_use else 0))
    if not nodes:
        return Fact((NumaNode(number=0, cpus=tuple(cpus), free_bytes=available_bytes),),
                    f"no nodes in /{_NODE}: taken as one")
    return Fact(tuple(sorted(nodes, key=lambda node: node.number)), f"/{_NODE}")


def l2_bytes(root: Path, cores: Sequence[int]) -> Fact:
    """Bytes of L2 cache per core, the smallest among `cores`; None when the system does not tell."""
    sizes = [size for cpu in cores if (size := _l2_of(root, cpu)) is not None]
    return Fact(min(sizes), f"/{_CPU}") if sizes else Fact(None, f"no second-level cache in /{_CPU}")


def _siblings(root: Path, cpu: int) -> tuple[int, ...]:
    """The CPUs that share a core with `cpu`, itself included; () when the system does not tell.

    core_cpus_list is the newer name of the file.
    """
    folder = root / _CPU / f"cpu{cpu}/topology"
    text = system_text(folder / "core_cpus_list") or system_text(folder / "thread_siblings_list")
    return parse_cpu_list(text)


def _l2_of(root: Path, cpu: int) -> int | None:
    """Bytes of L2 cache of the CPU's core (a cache shared by several cores is divided by their number), or None."""
    for folder in (root / _CPU / f"cpu{cpu}/cache").glob("index*"):
        size = system_text(folder / "size")
        if system_text(folder / "level") == "2" and size.endswith("K") and size[:-1].isdigit():
            sharing = parse_cpu_list(system_text(folder / "shared_cpu_list")) or (cpu,)
            cores = max(1, len(sharing) // max(1, len(_siblings(root, cpu))))
            return int(size[:-1]) * 1024 // cores
    return None


def _node_free(folder: Path) -> int:
    memory = sizes_in_kb(system_text(folder / "meminfo"))
    return sum(memory.get(name, 0) for name in ("MemFree", "Active(file)", "Inactive(file)"))


def _status(root: Path, key: str) -> str:
    """The value of `key` in /proc/self/status, or ""."""
    for line in system_text(root / "proc/self/status").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.strip()
    return ""

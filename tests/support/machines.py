"""Machines for tests: trees of /proc and /sys in a temporary directory, and a Machine made by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from weft.config.fact import Fact
from weft.config.machine import Machine
from weft.config.topology import NumaNode

GIB = 2**30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:         1000000 kB\nMemAvailable:    8388608 kB\n"
CPUINFO = "processor\t: 0\nflags\t\t: fpu sse4_2 avx2 avx512f avx512_bf16 amx_bf16 hypervisor\n"


def lay_out(root: Path, files: dict[str, str]) -> Path:
    """Write files below a root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def with_cores(root: Path, *cores: str, files: dict[str, str] | None = None) -> Path:
    """A machine whose cores have these CPUs, each a list as the kernel writes it: "0,4" or "2"."""
    topology = {f"sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list": f"{core}\n"
                for core in cores for cpu in core.split(",")}
    return lay_out(root, {"proc/meminfo": MEMINFO, "proc/cpuinfo": CPUINFO} | topology | (files or {}))


def made_machine(*, cpus: Iterable[int] = range(6), cores: Iterable[int] | None = None, quota: float | None = None,
                 memory_bytes: int = 2**34, available_bytes: int = 2**33, flags: Iterable[str] = ()) -> Machine:
    """A Machine with these facts, all from "test"."""
    cpus = tuple(cpus)
    cores = cpus if cores is None else tuple(cores)
    facts = {"cpus": cpus, "cores": cores, "cpu_quota": quota, "num_cores": min(len(cores), int(quota or len(cores))),
             "memory_bytes": memory_bytes, "available_bytes": available_bytes, "l2_bytes": None,
             "nodes": (NumaNode(number=0, cpus=cpus, free_bytes=available_bytes),), "isa": frozenset(flags)}
    return Machine(**{name: Fact(value, "test") for name, value in facts.items()})

"""What this process may use of the machine: cores, memory and instruction sets, each with where it was read.

Reads files below `root` (`/proc`, `/sys`), so that tests can lay out a machine of their own. Knows no torch.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from weft.config.cgroup import Limit, cpu_quota, memory_limits

# Flags of /proc/cpuinfo that decide which kernel may run.
ISA_FLAGS = frozenset("""
    avx avx2 fma f16c avx512f avx512bw avx512vl avx512dq avx512_vnni avx_vnni avx512_bf16 avx512_fp16 amx_tile amx_bf16
    amx_int8 amx_fp16 neon asimd asimddp i8mm bf16 fphp asimdhp sve sve2 svebf16 svei8mm
""".split())


@dataclass(frozen=True, slots=True)
class Fact:
    """A value and the place it was read from, in words."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine as this process sees it.

    num_cores: physical cores this process may run on at once: affinity, SMT siblings counted once, cgroup quota.
    memory_bytes: the most this process can ever have: the smallest of cgroup limits and physical memory.
    available_bytes: what is free of it now, page cache counted as free.
    isa: a frozenset of names out of ISA_FLAGS.
    """

    num_cores: Fact
    memory_bytes: Fact
    available_bytes: Fact
    isa: Fact

    @classmethod
    def detect(cls, root: Path = Path("/"), *, affinity: Iterable[int] | None = None) -> Machine:
        """Look at the machine below `root`; `affinity` are the logical CPUs allowed (None: ask the system)."""
        limits = memory_limits(root)
        return cls(
            num_cores=_cores(root, _affinity() if affinity is None else frozenset(affinity)),
            memory_bytes=_memory(root, limits),
            available_bytes=_available(root, limits),
            isa=_isa(root),
        )


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _cores(root: Path, cpus: frozenset[int]) -> Fact:
    count, source = _physical_cores(root, cpus)
    quota = cpu_quota(root)
    if quota is not None and quota.value < count:
        return Fact(max(1, int(quota.value)), f"CPU quota of {quota.value:g} in {quota.source}")
    return Fact(count, source)


def _physical_cores(root: Path, cpus: frozenset[int]) -> tuple[int, str]:
    """Cores behind these logical CPUs, each counted once however many of its threads are allowed."""
    siblings = {cpu: _read(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in cpus}
    known = {text for text in siblings.values() if text}
    if known and all(siblings.values()):
        left_out = len(cpus) - len(known)
        return len(known), f"affinity of {len(cpus)} CPUs" + (f", {left_out} SMT siblings left out" if left_out else "")
    if root == Path("/"):
        total, physical = os.cpu_count() or 1, psutil.cpu_count(logical=False) or 0
        if physical and len(cpus) == total:
            return physical, "physical cores by psutil"
    return max(1, len(cpus)), f"affinity of {len(cpus)} CPUs, topology unknown"


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
    """Entries of /proc/meminfo in bytes."""
    out = {}
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()
        if number and number[0].isdigit():
            out[name] = int(number[0]) * 1024
    return out


def _isa(root: Path) -> Fact:
    for line in _read(root / "proc/cpuinfo").splitlines():
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return Fact(ISA_FLAGS & frozenset(flags.split()), "/proc/cpuinfo")
    if platform.machine().lower() in ("arm64", "aarch64"):
        return Fact(frozenset({"neon"}), "every arm64 processor has it")
    return Fact(frozenset(), "no /proc/cpuinfo: none assumed")


def _read(path: Path) -> str:
    """A small system file, or nothing where the system does not have it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

"""Limits that control groups (cgroup version 1 and 2) put on this process: CPU quota and memory. Used by `machine.py`.

A limit can be set at any level between the process's group and the root; the smallest one counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from weft.config.fact import system_text

_UNLIMITED_BYTES = 1 << 60   # version 1 writes "no limit" as the largest page-aligned number
# (file with a limit, file with the usage counted against it). Above memory.high the kernel slows the process down.
_MEMORY_FILES = (("memory.max", "memory.current"), ("memory.high", "memory.current"),
                 ("memory.limit_in_bytes", "memory.usage_in_bytes"))


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit in bytes or CPUs, the file that sets it, and for memory the bytes in use without the page cache."""

    value: float
    source: str
    used: int = 0


def cpu_quota(root: Path) -> Limit | None:
    """CPU time this process may use, in CPUs (1.5: one and a half), or None without a quota."""
    found = []
    for folder in _levels(root, "cpu"):
        quota, _, period = system_text(folder / "cpu.max").partition(" ")
        name = "cpu.max"
        if not quota:
            name = "cpu.cfs_quota_us"
            quota, period = system_text(folder / name), system_text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0 and int(quota) > 0:
            found.append(Limit(int(quota) / int(period), _shown(root, folder / name)))
    return min(found, key=lambda limit: limit.value, default=None)


def memory_limits(root: Path) -> list[Limit]:
    """Memory limits on this process in bytes, each with its usage: one for each level that sets a limit."""
    found = []
    for folder in _levels(root, "memory"):
        for limit_name, usage_name in _MEMORY_FILES:
            text = system_text(folder / limit_name)
            if text.isdigit() and int(text) < _UNLIMITED_BYTES:
                found.append(Limit(int(text), _shown(root, folder / limit_name), _used(folder, usage_name)))
    return found


def _levels(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's control group and of the group's parents, for one controller, innermost first."""
    mount = root / "sys/fs/cgroup"
    for line in system_text(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            tops = (mount, mount / "unified")
        elif controller in controllers.split(","):
            tops = (mount / controllers, mount / controller)
        else:
            continue
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for top in tops:
            for depth in range(len(parts), -1, -1):
                folder = top.joinpath(*parts[:depth])
                if folder.is_dir():
                    yield folder


def _used(folder: Path, usage_name: str) -> int:
    """Bytes in use that the kernel cannot reclaim by dropping file pages."""
    usage = system_text(folder / usage_name)
    if not usage.isdigit():
        return 0
    stat = dict(line.split()[:2] for line in system_text(folder / "memory.stat").splitlines() if len(line.split()) >= 2)
    prefix = "total_" if "total_inactive_file" in stat else ""
    pages = sum(int(stat.get(f"{prefix}{name}", 0)) for name in ("inactive_file", "active_file"))
    return max(0, int(usage) - pages)


def _shown(root: Path, path: Path) -> str:
    return "/" + path.relative_to(root).as_posix()

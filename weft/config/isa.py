"""Instruction sets: the processor's ISA flags, and the ISA level of native kernels that flags and the user's cap allow.

An architecture's levels are ordered: a level needs the flags of all levels before it. What a kernel does at a level is
in `csrc/levels`.
"""

from __future__ import annotations

import platform
from pathlib import Path

from weft.config.fact import Fact, system_text
from weft.errors import ConfigError

# Architecture -> its levels from low to high, each with the flags it needs beyond those of the level before, as
# /proc/cpuinfo spells them. "reference": no native kernels at all; "portable": native kernels for any processor.
_EVERYWHERE: dict[str, tuple[str, ...]] = {"reference": (), "portable": ()}
ARCHITECTURES: dict[str, dict[str, tuple[str, ...]]] = {
    "x86-64": {
        **_EVERYWHERE,
        "avx2": ("avx2", "fma", "f16c"),
        "avx512": ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"),
        "avx512_bf16": ("avx512_bf16", "avx512vbmi"),
        "amx": ("amx_tile", "amx_bf16", "amx_int8"),
    },
    "x86-64 with AVX-VNNI": {           # without AVX512
        **_EVERYWHERE,
        "avx2": ("avx2", "fma", "f16c"),
        "avx_vnni": ("avx_vnni",),
    },
    "aarch64": {**_EVERYWHERE, "neon": ("asimddp",), "neon_i8mm": ("i8mm",)},
}
LEVELS = tuple(dict.fromkeys(level for levels in ARCHITECTURES.values() for level in levels))
CPU_ISAS = ("auto", *LEVELS)          # the values of the option cpu_isa

# Flags of /proc/cpuinfo that decide which kernels may run.
ISA_FLAGS = frozenset("""
    avx avx2 fma f16c avx512f avx512bw avx512vl avx512dq avx512_vnni avx512vbmi avx_vnni avx512_bf16 avx512_fp16
    amx_tile amx_bf16 amx_int8 amx_fp16 neon asimd asimddp i8mm bf16 fphp asimdhp sve sve2 svebf16 svei8mm
""".split())


def isa_flags(root: Path) -> Fact:
    """The flags of ISA_FLAGS that the first processor in /proc/cpuinfo has, as a frozenset of names."""
    for line in system_text(root / "proc/cpuinfo").splitlines():
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):           # x86-64, aarch64
            return Fact(ISA_FLAGS & frozenset(flags.split()), "/proc/cpuinfo")
    if platform.machine().lower() in ("arm64", "aarch64"):
        return Fact(frozenset({"neon"}), "every arm64 processor has it")
    return Fact(frozenset(), "no /proc/cpuinfo: none assumed")


def resolve_isa(cap: str, flags: Fact) -> Fact:
    """The ISA level that kernels may use: `cap`, or with "auto" the highest level that `flags` allow.

    ConfigError for a cap that `flags` do not reach; the error names the missing flags.
    """
    if cap == "auto":
        best = levels_within(flags.value)[-1]
        return Fact(best, f"the highest that {flags.source} allows" if flags.value else flags.source)
    missing = _missing(cap, flags.value)
    if missing:
        best = levels_within(flags.value)[-1]
        raise ConfigError("cpu_isa", cap, expected=f"a level that this processor reaches: {best} or lower",
                          hint=f"It lacks {', '.join(missing)} ({flags.source}).")
    return Fact(cap, "option cpu_isa")


def levels_within(flags: frozenset[str]) -> list[str]:
    """The levels that `flags` allow, from low to high: those of the architecture of which most are allowed."""
    allowed = ([level for level in levels if not _missing(level, flags)] for levels in ARCHITECTURES.values())
    return max(allowed, key=len)


def _missing(level: str, flags: frozenset[str]) -> list[str]:
    """The flags that a level and all levels below it need and that are not in `flags`."""
    [levels, *_] = [levels for levels in ARCHITECTURES.values() if level in levels]
    order = list(levels)
    return [flag for name in order[: order.index(level) + 1] for flag in levels[name] if flag not in flags]

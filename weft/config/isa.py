"""Instruction sets: the flags a processor has, and the level of native kernels that they and the user's cap allow.

The levels are an order: each holds what those before it need. What a kernel does with its level is the kernel's affair.
"""

from __future__ import annotations

import platform
from pathlib import Path

from weft.config.fact import Fact, system_text
from weft.errors import ConfigError

# level -> what it needs that the one before does not, as /proc/cpuinfo spells it. "reference": no native kernel at all;
# "portable": native, for any processor.
LEVELS: dict[str, tuple[str, ...]] = {
    "reference": (),
    "portable": (),
    "avx2": ("avx2", "fma", "f16c"),
    "avx512": ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"),
    "avx512_bf16": ("avx512_bf16", "avx512vbmi"),
    "amx": ("amx_tile", "amx_bf16", "amx_int8"),
}
CPU_ISAS = ("auto", *LEVELS)          # the values of the option cpu_isa

# Flags of /proc/cpuinfo that decide which kernel may run.
ISA_FLAGS = frozenset("""
    avx avx2 fma f16c avx512f avx512bw avx512vl avx512dq avx512_vnni avx512vbmi avx_vnni avx512_bf16 avx512_fp16
    amx_tile amx_bf16 amx_int8 amx_fp16 neon asimd asimddp i8mm bf16 fphp asimdhp sve sve2 svebf16 svei8mm
""".split())


def isa_flags(root: Path) -> Fact:
    """A frozenset of names out of ISA_FLAGS: what the first processor of /proc/cpuinfo has."""
    for line in system_text(root / "proc/cpuinfo").splitlines():
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return Fact(ISA_FLAGS & frozenset(flags.split()), "/proc/cpuinfo")
    if platform.machine().lower() in ("arm64", "aarch64"):
        return Fact(frozenset({"neon"}), "every arm64 processor has it")
    return Fact(frozenset(), "no /proc/cpuinfo: none assumed")


def resolve_isa(cap: str, flags: Fact) -> Fact:
    """The highest level that kernels may use: the smaller of `cap` ("auto": none) and what `flags` allow.

    ConfigError for a cap that these flags do not reach; it names those that are missing.
    """
    if cap == "auto":
        reached = [level for level in LEVELS if not _missing(level, flags.value)]
        return Fact(reached[-1], f"the highest that {flags.source} allows" if flags.value else flags.source)
    missing = _missing(cap, flags.value)
    if missing:
        best = resolve_isa("auto", flags).value
        raise ConfigError("cpu_isa", cap, expected=f"a level that this processor reaches: {best} or lower",
                          hint=f"It lacks {', '.join(missing)} ({flags.source}).")
    return Fact(cap, "option cpu_isa")


def _missing(level: str, flags: frozenset[str]) -> list[str]:
    """What `flags` lack of a level and of all below it."""
    order = list(LEVELS)
    return [flag for name in order[: order.index(level) + 1] for flag in LEVELS[name] if flag not in flags]

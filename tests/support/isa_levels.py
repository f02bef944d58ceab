"""The levels of native kernels that this machine and this installation can run."""

from pathlib import Path

from weft.config.isa import LEVELS, isa_flags, resolve_isa
from weft.ops.native import extension, is_installed


def native_levels() -> list[str]:
    """From "portable" to the highest, and AMX on emulated tiles if that was built; none without the extension."""
    if not is_installed():
        return []
    levels = list(LEVELS)
    reached = levels[1 : levels.index(resolve_isa("auto", isa_flags(Path("/"))).value) + 1]
    return [*reached, "amx_emulated"] if "avx512_bf16" in reached and _has("amx_emulated") else reached


def _has(level: str) -> bool:
    try:
        extension().kernels(level)
    except ValueError:
        return False
    return True

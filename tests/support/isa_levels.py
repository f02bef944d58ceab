"""The levels of native kernels that this machine and this installation can run."""

from pathlib import Path

from weft.config.isa import isa_flags, levels_within
from weft.ops.native import extension, is_installed


def native_levels() -> list[str]:
    """From "portable" to the highest, and AMX on emulated tiles if that was built; none without the extension."""
    if not is_installed():
        return []
    reached = levels_within(isa_flags(Path("/")).value)[1:]
    return [*reached, "amx_emulated"] if "avx512_bf16" in reached and _has("amx_emulated") else reached


def _has(level: str) -> bool:
    try:
        extension().kernels(level)
    except ValueError:
        return False
    return True

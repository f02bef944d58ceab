"""The levels of native kernels that this machine and this installation can run."""

from pathlib import Path

from weft.config.isa import LEVELS, isa_flags, resolve_isa
from weft.ops.native import extension


def native_levels() -> list[str]:
    """From "portable" to the highest; none without the extension."""
    if extension() is None:
        return []
    levels = list(LEVELS)
    return levels[1 : levels.index(resolve_isa("auto", isa_flags(Path("/"))).value) + 1]

"""`Attempts`: whether an engine that died is started once more, and after which pause. Knows no process, no clock."""

from __future__ import annotations

MAX_VAIN = 8          # starts in a row that brought nothing, after which the engine stays down
STEADY_S = 10.0       # seconds that a ready engine must live so that its start was not in vain
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


class Attempts:
    """Counts starts in vain: those of engines that died while they loaded, or before they gave any output.

    A death by a sequence that is found out (`Suspects`) is in vain as well, so a machine on which every request ends
    the engine is given up, too.
    """

    def __init__(self, max_vain: int = MAX_VAIN) -> None:
        self.max_vain = max_vain
        self.num_vain = 0

    def progressed(self) -> None:
        """Notes an output, or that the engine lived for STEADY_S seconds."""
        self.num_vain = 0

    def failed(self) -> float | None:
        """Notes a start in vain. Returns the seconds to wait before the next one; None: give up."""
        self.num_vain += 1
        if self.num_vain >= self.max_vain:
            return None
        return min(_FIRST_PAUSE_S * 2 ** (self.num_vain - 1), _LONGEST_PAUSE_S)

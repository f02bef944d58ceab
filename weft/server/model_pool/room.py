"""`room_for`: which model has to leave memory for another one; plain arithmetic over the entries of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.config.human_bytes import human_bytes
from weft.server.errors import ApiError
from weft.server.model_pool.entry import ModelEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """free_bytes: what is left of the budget. to_unload: the idle model that nobody used for the longest time, or None.
    holders: the models that hold the rest of the budget.
    """

    free_bytes: int
    to_unload: ModelEntry | None
    holders: tuple[ModelEntry, ...]

    def refusal(self, name: str, least_bytes: int, budget_bytes: int) -> ApiError:
        """The error for a request of the model `name`, which needs `least_bytes`."""
        held = ", ".join(f"{entry.name} {human_bytes(entry.memory_bytes)}" for entry in self.holders)
        return ApiError(503, f"The model {name!r} needs at least {human_bytes(least_bytes)}. Of the "
                        f"{human_bytes(budget_bytes)} for all models {human_bytes(self.free_bytes)} are free; models "
                        f"in use hold the rest: {held}.", retry_after=5)


def room_for(budget_bytes: int, entries: Sequence[ModelEntry]) -> Room:
    """What there is of `budget_bytes` beside the models of `entries` that are in memory."""
    holders = tuple(entry for entry in entries if entry.memory_bytes)
    idle = sorted((entry for entry in holders if entry.is_idle), key=lambda entry: entry.last_used)
    return Room(free_bytes=max(0, budget_bytes - sum(entry.memory_bytes for entry in holders)), holders=holders,
                to_unload=idle[0] if idle else None)

"""`Suspects`: finds the sequence that ends the engine's process, by bisecting, so that no other one is failed for it.

Knows ids only. A death counts against the sequences that were being computed at it; an output clears a sequence. Those
with two deaths in a row are suspects, and are tried apart from everybody else: in halves, then alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import NamedTuple

_MAX_DEATHS = 2      # deaths without an output in between after which a sequence is a suspect


class Verdict(NamedTuple):
    """What a death has shown. guilty: the sequence that died alone. is_narrowed: there are fewer suspects than before,
    or the first ones."""

    guilty: str | None
    is_narrowed: bool


class Suspects:
    """Told of deaths, outputs and ends; says which sequences may run."""

    def __init__(self) -> None:
        self._deaths: dict[str, int] = {}                      # deaths of each sequence since its last output
        self._groups: deque[tuple[str, ...]] = deque()         # suspects; the first group is being tried
        self._untried: set[str] = set()                        # of the first group: no output yet

    @property
    def is_empty(self) -> bool:
        """True while no death counts against anybody."""
        return not self._deaths

    @property
    def is_searching(self) -> bool:
        """True while suspects are tried apart."""
        return bool(self._groups)

    def may_run(self, request_id: str) -> bool:
        """False for a sequence that must wait until the group that is being tried has shown itself innocent."""
        return not self._groups or request_id in self._groups[0]

    def died(self, running: Collection[str]) -> Verdict:
        """Notes a death of the engine. running: the sequences that were being computed."""
        for request_id in running:
            self._deaths[request_id] = self._deaths.get(request_id, 0) + 1
        if self._groups:
            return self._died_in_search(running)
        suspects = [request_id for request_id in running if self._deaths[request_id] >= _MAX_DEATHS]
        self._split(suspects)
        return Verdict(None, is_narrowed=bool(suspects))

    def cleared(self, request_id: str) -> bool:
        """Notes an output of a sequence, or its end. True if others may run now that had to wait."""
        self._deaths.pop(request_id, None)
        if request_id not in self._untried:
            return False
        self._untried.remove(request_id)
        return not self._untried and self._next_group()

    def ended(self, request_id: str) -> bool:
        """Notes that a sequence has ended, or was aborted. True if others may run now that had to wait."""
        widens = self.cleared(request_id)
        if any(request_id in group for group in list(self._groups)[1:]):
            rest = [tuple(other for other in group if other != request_id) for group in list(self._groups)[1:]]
            self._groups = deque([self._groups[0], *filter(None, rest)])
        return widens

    def _died_in_search(self, running: Collection[str]) -> Verdict:
        group = self._groups[0]
        blamed = [request_id for request_id in group if request_id in self._untried and request_id in running]
        if not blamed:      # nothing new ran yet: the group is tried again
            return Verdict(None, is_narrowed=False)
        if len(group) == 1:
            del self._deaths[group[0]]
            self._groups.clear()      # the others were suspects because of this one
            self._untried.clear()
            return Verdict(group[0], is_narrowed=True)
        self._groups.popleft()
        waited = tuple(request_id for request_id in group if request_id in self._untried and request_id not in running)
        if waited:
            self._groups.appendleft(waited)
        self._split(blamed)
        return Verdict(None, is_narrowed=True)

    def _split(self, suspects: list[str]) -> None:
        """Puts both halves of `suspects` before the other groups."""
        half = (len(suspects) + 1) // 2
        self._groups.extendleft(part for part in (tuple(suspects[half:]), tuple(suspects[:half])) if part)
        self._untried = {*self._groups[0]} if self._groups else set()

    def _next_group(self) -> bool:
        self._groups.popleft()
        self._untried = {*self._groups[0]} if self._groups else set()
        return True

"""`StopMatcher`: finds the first stop string in a streaming text, and cuts the text there.

Knows no tokens; `frontend/answers.py` passes it the detokenizer's text.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Cuts one text at its earliest stop string.

    The match with the earliest start wins; of several with the same start, the shortest. The result does not depend on
    how the text is divided into pushes: a match waits while an earlier start may still complete. Until a match, the
    last characters are held back, one fewer than the longest stop string has.

    Attributes:
        matched: the stop string found, or None so far; `finish` may still set it if a match waits.
    """

    def __init__(self, stop: Sequence[str], *, include_stop_str: bool) -> None:
        self._stop = sorted(stop, key=len)
        self._include_stop_str = include_stop_str
        self._num_held = max(map(len, stop), default=1) - 1
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str) -> str:
        """The new text that is safe to show; "" once a stop string was found."""
        if self.matched is not None:
            return ""
        self._held += text
        start, found = self._earliest()
        if found is not None and not self._may_begin_before(start):
            return self._cut(start, found)
        cut = max(0, len(self._held) - self._num_held)
        safe, self._held = self._held[:cut], self._held[cut:]
        return safe

    def finish(self) -> str:
        """The rest of the text, up to a match that was waiting; "" once a stop string was found."""
        start, found = self._earliest()
        if self.matched is None and found is not None:
            return self._cut(start, found)
        rest, self._held = self._held, ""
        return rest

    def _earliest(self) -> tuple[int, str | None]:
        # min keeps the first of equal starts, and self._stop is sorted by length.
        matches = ((self._held.find(stop), stop) for stop in self._stop)
        return min(((start, stop) for start, stop in matches if start >= 0), key=lambda m: m[0], default=(0, None))

    def _may_begin_before(self, start: int) -> bool:
        """True when the text ends inside a stop string that began before `start`."""
        length = len(self._held)
        return any(stop.startswith(self._held[begin:]) for stop in self._stop
                   for begin in range(max(0, length - len(stop) + 1), start))

    def _cut(self, start: int, found: str) -> str:
        self.matched = found
        text = self._held[: start + len(found) if self._include_stop_str else start]
        self._held = ""
        return text

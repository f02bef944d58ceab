"""`Progress`: when an engine was last heard of and last computed something, and what is wrong with that.

Times are given, in seconds of one clock; the class reads none and knows no process.
"""

from __future__ import annotations


class Progress:
    """Told of signs of life; `complaint` is the sentence for those who ask after the engine's health.

    now: when the engine was ready.
    """

    def __init__(self, now: float) -> None:
        self._died: float | None = None      # since when there is no engine
        self._rests = False                  # there is none, and there should be none
        self._heard = self._moved = now

    def ready(self, now: float) -> None:
        """Notes a new engine."""
        self._died, self._rests = None, False
        self._heard = self._moved = now

    def died(self, now: float) -> None:
        """Notes that the engine ended, or that a rest did."""
        self._died, self._rests = now, False

    def rests(self) -> None:
        """Notes that the engine was ended on purpose. Nothing is wrong with that until `died` or `ready`."""
        self._rests = True

    def heard(self, now: float, *, has_moved: bool) -> None:
        """Notes a message of the engine. has_moved: it tells of computed tokens, or the engine has nothing to do."""
        self._heard = now
        if has_moved:
            self._moved = now

    def began(self, now: float) -> None:
        """Notes that the engine gets something to do, after it had nothing."""
        self._moved = now

    def complaint(self, now: float, limit_s: float, *, num_open: int) -> str | None:
        """What has lasted longer than `limit_s` seconds: a restart, silence, or no token for the open sequences."""
        if self._rests:
            return None
        if self._died is not None:
            lasted = now - self._died
            return f"The engine ended and is not back after {lasted:.0f} s." if lasted > limit_s else None
        if num_open and now - self._moved > limit_s:
            return f"{num_open} sequences are open, and none got a token for {now - self._moved:.0f} s."
        if now - self._heard > limit_s:
            return f"The engine has given no sign of life for {now - self._heard:.0f} s."
        return None

"""`TokenClock`: measures the times between the tokens of a streamed request: all that metrics do for each token."""

from __future__ import annotations

import time

from weft.frontend.light_histogram import LightHistogram


class TokenClock:
    """Measures the times between the tokens of one streamed request and records them in `times`."""

    def __init__(self, times: LightHistogram) -> None:
        self._times = times
        self._last: dict[tuple[int, int], float] = {}      # {stream: seconds at its last token}

    def tick(self, stream: tuple[int, int], num_tokens: int) -> None:
        """Records `num_tokens` new tokens of `stream`. Tokens that come together share the time since the last one.

        stream: (prompt index, answer index).
        """
        if not num_tokens:
            return
        now = time.monotonic()
        last = self._last.get(stream)
        self._last[stream] = now
        if last is not None:
            self._times.add(now - last, num_tokens)

"""The times between the tokens of streamed answers: `TokenClock` takes them, `TokenTimes` is their metric.

This is all that metrics do for each token. A histogram of prometheus_client costs several times as much: it locks twice
and looks at each bucket.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class TokenTimes(Collector):
    """A histogram of seconds that one thread fills and any thread reads. labels: {name: value} of its one series."""

    def __init__(self, name: str, text: str, labels: dict[str, str], buckets: Sequence[float]) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, buckets
        self._counts = [0] * (len(buckets) + 1)      # of values up to each bound, but above the one before
        self._sum = 0.0

    def add(self, seconds: float, num_tokens: int) -> None:
        """Counts `num_tokens` tokens that took so long together."""
        self._counts[bisect_left(self._bounds, seconds / num_tokens)] += num_tokens
        self._sum += seconds

    def describe(self) -> Iterable[Metric]:
        """Returns no metrics, so that registering does not call `collect`."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The histogram."""
        family = HistogramMetricFamily(self._name, self._text, labels=list(self._labels))
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        counts = zip(bounds, accumulate(self._counts), strict=True)
        family.add_metric(list(self._labels.values()), list(counts), self._sum)
        yield family


class TokenClock:
    """Measures the times between the tokens of one streamed request and records them in `times`."""

    def __init__(self, times: TokenTimes) -> None:
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

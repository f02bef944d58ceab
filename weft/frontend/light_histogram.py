"""`LightHistogram`: a histogram for what is counted at each step or token.

One of prometheus_client costs several times as much for a value: it locks twice and looks at each bucket.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class LightHistogram(Collector):
    """A histogram that one thread fills and any thread reads. labels: {name: value} of its one series."""

    def __init__(self, name: str, text: str, labels: Mapping[str, str], buckets: Sequence[float]) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, dict(labels), buckets
        self._counts = [0] * (len(buckets) + 1)      # of values up to each bound, but above the one before
        self._sum = 0.0

    def add(self, total: float, count: int = 1) -> None:
        """Counts `count` equal values, whose sum is `total`."""
        self._counts[bisect_left(self._bounds, total / count)] += count
        self._sum += total

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

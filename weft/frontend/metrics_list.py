"""`metrics_list`: an engine's metrics as `LLM.get_metrics` returns them, in classes with vLLM's names and fields."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family
from prometheus_client.samples import Sample

_OURS, _THEIRS = "weft:", "vllm:"
_BY_POSITION = "position"      # the label of a counter whose series are one vector


@dataclass
class Metric:
    """A metric with one set of labels. name: vLLM's, such as "vllm:num_requests_running"."""

    name: str
    labels: dict[str, str]


@dataclass
class Counter(Metric):
    """A number that only grows."""

    value: int


@dataclass
class Vector(Metric):
    """Counters in a row: accepted drafts, by their place among a sequence's drafts."""

    values: list[int]


@dataclass
class Gauge(Metric):
    """A number that describes this moment."""

    value: float


@dataclass
class Histogram(Metric):
    """How many values there were. buckets: {bound: values of at most so much}; the bound "+Inf" has all. sum: of them.
    """

    count: int
    sum: float
    buckets: dict[str, int]


def metrics_list(registry: CollectorRegistry) -> list[Metric]:
    """All counters, gauges and histograms of a registry."""
    return [metric for family in registry.collect() for metric in _metrics(family)]


def _metrics(family: Family) -> Iterator[Metric]:
    name = family.name.replace(_OURS, _THEIRS, 1)
    if family.type == "gauge":
        for sample in family.samples:
            yield Gauge(name, dict(sample.labels), sample.value)
    elif family.type == "counter":
        samples = [sample for sample in family.samples if sample.name.endswith("_total")]
        if any(_BY_POSITION in sample.labels for sample in samples):
            for labels, series in _series(samples, _BY_POSITION):
                yield Vector(name, labels, [int(sample.value) for sample in series])
        else:
            for sample in samples:
                yield Counter(name, dict(sample.labels), int(sample.value))
    elif family.type == "histogram":
        sums = {frozenset(s.labels.items()): s.value for s in family.samples if s.name == f"{family.name}_sum"}
        for labels, series in _series((s for s in family.samples if s.name == f"{family.name}_bucket"), "le"):
            buckets = {sample.labels["le"]: int(sample.value) for sample in series}
            yield Histogram(name, labels, buckets["+Inf"], sums[frozenset(labels.items())], buckets)


def _series(samples: Iterable[Sample], label: str) -> Iterator[tuple[dict[str, str], list[Sample]]]:
    """Samples that differ in one label only, with the labels that they share."""
    found: dict[frozenset[tuple[str, str]], list[Sample]] = defaultdict(list)
    for sample in samples:
        found[frozenset((key, value) for key, value in sample.labels.items() if key != label)].append(sample)
    for labels, series in found.items():
        yield dict(sorted(labels)), series

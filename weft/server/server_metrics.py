"""`ServerMetrics`: all that GET /metrics shows: the metrics of each model, of the HTTP server and of its process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from weft.frontend.metrics import ENGINE, LABELS
from weft.server.model_pool.entry import ModelEntry


class ServerMetrics:
    """One registry for each app. A model's metrics stay in the model's own registry, with its name as a label."""

    def __init__(self, entries: Sequence[ModelEntry]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Models(entries))

    def watch_cache(self, name: str, text: str, read: Callable[[], int], max_bytes: int) -> None:
        """Adds the gauges `weft:NAME_bytes`, which `read` tells when it is asked for, and `weft:NAME_limit_bytes`.

        text: what the bytes are of.
        """
        Gauge(f"weft:{name}_bytes", f"Bytes of {text}.", registry=self.registry).set_function(read)
        Gauge(f"weft:{name}_limit_bytes", f"Most bytes of {text}.", registry=self.registry).set(max_bytes)


class _Models(Collector):
    """The metrics of all models: the format of Prometheus wants all samples of a metric together."""

    def __init__(self, entries: Sequence[ModelEntry]) -> None:
        self._entries = entries

    def describe(self) -> Iterable[Metric]:
        """Returns no metrics, so that registering does not call `collect`."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Each metric once, with the samples of all models."""
        found: dict[str, Metric] = {}
        for entry in self._entries:
            for metric in () if entry.metrics is None else entry.metrics.registry.collect():
                joined = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                joined.samples += metric.samples
        yield from found.values()
        loaded = GaugeMetricFamily("weft:model_loaded", "1 for a model in memory, else 0.", labels=LABELS)
        memory = GaugeMetricFamily("weft:model_memory_bytes", "What the model may use of the memory.", labels=LABELS)
        loads = CounterMetricFamily("weft:model_loads", "Attempts to load the model, by outcome.",
                                    labels=(*LABELS, "outcome"))
        for entry in self._entries:
            loaded.add_metric((entry.name, ENGINE), entry.served is not None)
            memory.add_metric((entry.name, ENGINE), entry.memory_bytes)
            for outcome, count in entry.num_loads.items():
                loads.add_metric((entry.name, ENGINE, outcome), count)
        yield from (loaded, memory, loads)

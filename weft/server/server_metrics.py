"""`ServerMetrics`: all that GET /metrics shows: the metrics of each model, of the HTTP server and of its process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector


class ServerMetrics:
    """One registry for each app. A model's metrics stay in the model's own registry, with its name as a label."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._models = _Joined()
        ProcessCollector(registry=self.registry)
        self.registry.register(self._models)

    def add_model(self, registry: CollectorRegistry) -> None:
        """Shows the metrics in `registry` too. Metrics of the same name become one, so their labels must differ."""
        self._models.sources.append(registry)

    def watch_cache(self, name: str, text: str, read: Callable[[], int], max_bytes: int) -> None:
        """Adds the gauges `weft:NAME_bytes`, which `read` tells when it is asked for, and `weft:NAME_limit_bytes`.

        text: what the bytes are of.
        """
        Gauge(f"weft:{name}_bytes", f"Bytes of {text}.", registry=self.registry).set_function(read)
        Gauge(f"weft:{name}_limit_bytes", f"Most bytes of {text}.", registry=self.registry).set(max_bytes)


class _Joined(Collector):
    """The metrics of several registries: the format of Prometheus wants all samples of a metric together."""

    def __init__(self) -> None:
        self.sources: list[CollectorRegistry] = []

    def describe(self) -> Iterable[Metric]:
        """Returns no metrics, so that registering does not call `collect`."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Each metric once, with the samples of all registries."""
        found: dict[str, Metric] = {}
        for registry in list(self.sources):      # a scrape runs in a thread of its own
            for metric in registry.collect():
                joined = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                joined.samples += metric.samples
        yield from found.values()

"""Traces: a span of OpenTelemetry for each request of the engine that has ended, sent to a collector by OTLP over HTTP.

`Tracing` has the connection to the collector; its thread sends spans, and drops them where too many wait. The packages
(`weft[otel]`) are imported only if traces are asked for.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from weft.errors import ConfigError
from weft.frontend.pooling import PoolingRecord
from weft.outputs import RequestMetrics, RequestOutput
from weft.sampling_params import SamplingParams
from weft.server.options import ServerOptions
from weft.server.origin import OpenRequest
from weft.version import __version__

_PATH = "/v1/traces"      # of OTLP over HTTP


class Tracing:
    """Sends spans to the collector at `endpoint`, a URL; one without a path gets that of OTLP, /v1/traces.

    close_seconds: the most that `close` waits for the collector.
    ConfigError if OpenTelemetry's packages are missing.
    """

    def __init__(self, endpoint: str, *, close_seconds: float = 2.0) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import SERVICE_NAME, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ConfigError("otlp_traces_endpoint", endpoint, expected="none without OpenTelemetry's packages",
                              hint=f'Install them: pip install "weft[otel]" ({error}).') from error
        self._close_seconds = close_seconds
        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)      # not each of its attempts
        found = Resource.create()      # the SDK reads OTEL_SERVICE_NAME and its like
        is_named = not str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
        self._provider = TracerProvider(resource=found if is_named else found.merge(Resource({SERVICE_NAME: "weft"})),
                                        shutdown_on_exit=False)
        url = urlsplit(endpoint)
        full = endpoint if url.path.strip("/") else url._replace(path=_PATH).geturl()
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=full)))

    def tracer(self) -> Any:
        """The opentelemetry.trace.Tracer of weft."""
        return self._provider.get_tracer("weft", __version__)

    def flush(self) -> None:
        """Sends what waits, and returns when it is sent, or when that has failed."""
        self._provider.force_flush()

    def close(self) -> None:
        """Sends what waits, if the collector takes it soon, and ends the thread."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(self._close_seconds)


@contextlib.contextmanager
def tracing_of(options: ServerOptions) -> Iterator[Tracing | None]:
    """The tracing that the options ask for, until the end of the block; None for none."""
    if options.otlp_traces_endpoint is None:
        yield None
        return
    tracing = Tracing(options.otlp_traces_endpoint)
    try:
        yield tracing
    finally:
        tracing.close()


class RequestSpans:
    """An observer of the engine that makes the spans, under vLLM's names.

    open: the running requests, by the engine's ids. model: its name.
    """

    def __init__(self, open: Mapping[str, OpenRequest], tracing: Tracing, model: str) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._open, self._tracer, self._model = open, tracing.tracer(), model
        self._trace, self._parents = trace, TraceContextTextMapPropagator()

    def on_step(self, stats: object) -> None:
        """Nothing: only ends have spans."""

    def on_finished(self, output: RequestOutput, params: SamplingParams) -> None:
        """Makes the span of a request that has ended."""
        num_tokens = sum(len(answer.token_ids) for answer in output.outputs)
        reasons = [answer.finish_reason or "abort" for answer in output.outputs]
        self._end(output.request_id, output.metrics, reasons, {
            "gen_ai.request.max_tokens": params.max_tokens, "gen_ai.request.temperature": params.temperature,
            "gen_ai.request.top_p": params.top_p, "gen_ai.request.n": params.n,
            "gen_ai.usage.num_sequences": len(output.outputs), "gen_ai.usage.prompt_tokens": output.num_prompt_tokens,
            "gen_ai.usage.completion_tokens": num_tokens})

    def on_pooled(self, record: PoolingRecord) -> None:
        """Makes the span of a pooling request that has ended."""
        self._end(record.request_id, record.metrics, [record.finish_reason], {
            "gen_ai.usage.prompt_tokens": record.num_prompt_tokens, "gen_ai.usage.completion_tokens": 0})

    def _end(self, request_id: str, times: RequestMetrics | None, reasons: list[str],
             attributes: dict[str, Any]) -> None:
        """A span from the arrival of the HTTP request until now, below the span that the client's headers name."""
        found = self._open.get(request_id)
        if found is None:      # it has no HTTP request
            return
        now, now_ns = time.monotonic(), time.time_ns()
        attributes |= {"gen_ai.request.id": request_id, "gen_ai.response.model": self._model,
                       "gen_ai.response.finish_reasons": list(dict.fromkeys(reasons)),
                       **_latencies(times, found.origin.arrived, now)}
        span = self._tracer.start_span(
            "llm_request", self._parents.extract(found.origin.headers), self._trace.SpanKind.SERVER,
            start_time=now_ns - int((now - found.origin.arrived) * 1e9),
            attributes={name: value for name, value in attributes.items() if value is not None})
        if "error" in reasons:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(now_ns)


def _latencies(times: RequestMetrics | None, arrived: float, now: float) -> dict[str, float]:
    """Seconds; without those of events that did not happen."""
    found = {"e2e": now - arrived}
    if times is None:
        return _named(found)
    started, first = times.first_scheduled_time, times.first_token_time
    if started is not None:
        found["time_in_queue"] = max(started - times.arrival_time, 0.0)
        found["time_in_model_inference"] = max((times.finished_time or now) - started, 0.0)
    if first is not None:
        found["time_to_first_token"] = first - arrived
        found["time_in_model_decode"] = (times.last_token_time or first) - first
    if started is not None and first is not None:
        found["time_in_model_prefill"] = max(first - started, 0.0)
    return _named(found)


def _named(found: dict[str, float]) -> dict[str, float]:
    return {f"gen_ai.latency.{name}": seconds for name, seconds in found.items()}

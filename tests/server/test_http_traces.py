"""Traces: a span of each request arrives at a collector, below the client's own span."""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from fake_engine import FakeEngine
from http_server import running_server
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from weft.errors import ConfigError
from weft.frontend.pooling import PoolingRecord
from weft.outputs import RequestMetrics
from weft.server.options import ServerOptions
from weft.server.origin import OpenRequest, Origin
from weft.server.traces import RequestSpans, Tracing, tracing_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(HTTPServer):
    """Receives OTLP over HTTP, in a thread. received: (path, spans' resource, span) of each span."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received += [(self.path, plain(group.resource.attributes), span) for group in body.resource_spans
                                 for scope in group.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def plain(attributes) -> dict:
    def value(any_value):
        kind = any_value.WhichOneof("value")
        found = getattr(any_value, kind)
        return [value(item) for item in found.values] if kind == "array_value" else found

    return {attribute.key: value(attribute.value) for attribute in attributes}


@pytest.fixture(scope="module")
def server():
    """(the server's URL, its collector, its tracing)."""
    with Collector() as collector:
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        with tracing_of(ServerOptions(otlp_traces_endpoint=endpoint)) as tracing, running_server(
                FakeEngine(step_seconds=0.002), ServerOptions(), tracing) as url:
            yield url, collector, tracing
        collector.shutdown()


def span_of(server, body, **headers):
    """(path, resource, span) that the collector gets of one request."""
    url, collector, tracing = server
    collector.received.clear()
    httpx.post(f"{url}/v1/completions", json=body, headers=headers, timeout=20)
    tracing.flush()
    [found] = collector.received
    return found


def test_a_request_has_a_span_with_vllms_attributes(server):
    path, resource, span = span_of(server, {"prompt": "abc", "max_tokens": 5, "n": 2, "temperature": 0.5, "top_p": 0.9,
                                            "request_id": "mine"})

    attributes = plain(span.attributes)
    latencies = {name.removeprefix("gen_ai.latency."): attributes.pop(name) for name in list(attributes)
                 if name.startswith("gen_ai.latency.")}
    assert (path, span.name, resource["service.name"]) == ("/v1/traces", "llm_request", "weft")
    assert attributes.pop("gen_ai.request.id").startswith("cmpl-mine-0-")
    assert attributes == {
        "gen_ai.request.max_tokens": 5, "gen_ai.request.temperature": 0.5, "gen_ai.request.top_p": 0.9,
        "gen_ai.request.n": 2, "gen_ai.usage.num_sequences": 2, "gen_ai.usage.prompt_tokens": 3,
        "gen_ai.usage.completion_tokens": 10, "gen_ai.response.model": "toy",
        "gen_ai.response.finish_reasons": ["length"]}
    assert latencies.keys() == {"e2e", "time_to_first_token", "time_in_queue", "time_in_model_prefill",
                                "time_in_model_decode", "time_in_model_inference"}
    assert all(seconds >= 0 for seconds in latencies.values())
    assert latencies["e2e"] == pytest.approx((span.end_time_unix_nano - span.start_time_unix_nano) / 1e9, abs=1e-3)
    assert latencies["time_to_first_token"] < latencies["e2e"]


def test_the_span_is_below_the_one_that_the_client_names(server):
    _, _, span = span_of(server, {"prompt": "a", "max_tokens": 1}, traceparent=f"00-{TRACE}-{PARENT}-01")

    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)


@pytest.mark.parametrize("sent", ["00-short-id-01", "x" * 5000, f"00-{'0' * 32}-{PARENT}-01", ""])
def test_a_header_that_names_no_span_begins_a_trace(server, sent):
    _, _, span = span_of(server, {"prompt": "a", "max_tokens": 1}, traceparent=sent)

    assert len(span.trace_id) == 16 and not span.parent_span_id


def test_a_trace_that_the_client_does_not_sample_has_no_span(server):
    url, collector, tracing = server
    collector.received.clear()
    httpx.post(f"{url}/v1/completions", json={"prompt": "a", "max_tokens": 1},
               headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    tracing.flush()

    assert collector.received == []


def test_a_stream_has_one_span_for_each_prompt(server):
    url, collector, tracing = server
    collector.received.clear()
    httpx.post(f"{url}/v1/completions", json={"prompt": ["a", "b"], "max_tokens": 3, "stream": True}, timeout=20)
    tracing.flush()

    assert [span.name for _, _, span in collector.received] == ["llm_request"] * 2


def test_a_request_that_failed_has_a_span_with_an_error_and_the_times_that_there_were(server):
    _, collector, tracing = server
    collector.received.clear()
    now = time.monotonic()
    origin = Origin({"type": "http", "headers": []}, "mine", "127.0.0.1", arrived=now - 5)
    spans = RequestSpans({"embd-mine-0": OpenRequest("embd-mine", origin)}, tracing, "toy")
    for request_id in ("embd-mine-0", "of nobody"):
        spans.on_pooled(PoolingRecord(request_id, 7, 0, "error", RequestMetrics(
            arrival_time=now - 4, first_scheduled_time=now - 3, finished_time=now - 1)))
    tracing.flush()

    [(_, _, span)] = collector.received
    attributes = plain(span.attributes)
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert (attributes["gen_ai.usage.prompt_tokens"], attributes["gen_ai.response.finish_reasons"]) == (7, ["error"])
    assert attributes["gen_ai.latency.time_in_queue"] == pytest.approx(1)
    assert attributes["gen_ai.latency.time_in_model_inference"] == pytest.approx(2)
    assert attributes["gen_ai.latency.e2e"] >= 5
    assert "gen_ai.latency.time_to_first_token" not in attributes


def test_a_collector_that_is_not_there_changes_no_answer_and_holds_up_no_end():
    tracing = Tracing("http://127.0.0.1:9", close_seconds=0.05)      # nothing listens; a retry takes a second
    with running_server(FakeEngine(), ServerOptions(), tracing) as url:
        answer = httpx.post(f"{url}/v1/completions", json={"prompt": "a", "max_tokens": 2})
    tracing.close()

    assert answer.status_code == 200


@pytest.mark.parametrize("url", ["localhost:4317", "grpc://localhost:4317", "http://", "http://a:b", "", "/v1/traces"])
def test_an_endpoint_is_a_url_of_http(url):
    with pytest.raises(ConfigError, match=r"^otlp_traces_endpoint = .*expected a URL like http"):
        ServerOptions(otlp_traces_endpoint=url)


def test_without_its_packages_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(ConfigError, match=r'pip install "weft\[otel\]"'):
        Tracing("http://127.0.0.1:4318")

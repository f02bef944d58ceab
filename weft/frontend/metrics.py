"""Prometheus metrics of an engine: vLLM's names with the prefix `weft:`, in one registry for each model.

A scrape reads gauges and counters from the engine's last statistics; `AsyncLLM`'s observer calls fill the histograms.
This module knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from weft.config.engine_config import EngineConfig
from weft.engine.process.messages import EngineInfo, EngineStats
from weft.frontend.light_histogram import LightHistogram
from weft.frontend.pooling import PoolingRecord
from weft.outputs import RequestMetrics, RequestOutput
from weft.sampling_params import SamplingParams

LATENCY = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160,
               640, 2560)
BETWEEN_TOKENS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
ITERATION = (1, *(2**power for power in range(3, 15)))
CHOICES = (1, 2, 5, 10, 20)
LABELS = ("model_name", "engine")
ENGINE = "0"          # the value of the label `engine`: a model has one engine


def token_buckets(max_model_len: int) -> tuple[int, ...]:
    """Histogram buckets in tokens: 1, 2, 5, 10, 20, 50 … up to `max_model_len`."""
    steps = (digit * 10**power for power in range(len(str(max_model_len)) + 1) for digit in (1, 2, 5))
    return tuple(step for step in steps if step <= max_model_len)


class EngineMetrics:
    """An observer of `AsyncLLM` with its metrics registry, for one engine of the model after the other.

    token_times: the times between tokens of streamed answers. stats: returns the latest statistics. sleep_state:
    returns `AsyncLLM.sleep_state`. max_model_len: of the first engine, which sets the buckets of token counts.
    """

    def __init__(self, model_name: str, max_model_len: int, stats: Callable[[], EngineStats],
                 sleep_state: Callable[[], str]) -> None:
        self.registry = CollectorRegistry()
        self._values = (model_name, ENGINE)
        self._collector = _StatsCollector(self._values, stats, sleep_state)
        self.registry.register(self._collector)
        self._seconds = {name: self._histogram(name, buckets) for name, buckets in (
            ("time_to_first_token_seconds", FIRST_TOKEN),
            ("request_time_per_output_token_seconds", BETWEEN_TOKENS), ("e2e_request_latency_seconds", LATENCY),
            ("request_queue_time_seconds", LATENCY), ("request_inference_time_seconds", LATENCY),
            ("request_prefill_time_seconds", LATENCY), ("request_decode_time_seconds", LATENCY))}
        self.token_times = self._light("inter_token_latency_seconds", BETWEEN_TOKENS)
        self._step_tokens = self._light("iteration_tokens_total", ITERATION)
        tokens = token_buckets(max_model_len)
        self._counts = {name: self._histogram(name, buckets) for name, buckets in (
            ("request_prompt_tokens", tokens), ("request_generation_tokens", tokens),
            ("request_max_num_generation_tokens", tokens), ("request_params_max_tokens", tokens),
            ("request_params_n", CHOICES), ("request_prefill_kv_computed_tokens", tokens),
            ("request_num_preemptions", CHOICES))}
        self._success = self._counter("request_success", "Requests that ended, by reason.", "finished_reason")
        self._rejections = self._counter("admission_rejections", "Requests refused before they started.", "reason")
        for reason in ("stop", "length", "repetition", "abort", "error"):      # all are there from the start, at 0
            self._success.labels(*self._values, reason)
        for reason in ("max_num_queued_reqs", "max_num_queued_tokens", "max_queued_chars"):
            self._rejections.labels(*self._values, reason)

    def engine_started(self, config: EngineConfig, info: EngineInfo) -> None:
        """The engine whose sizes the metrics show from now on."""
        self._collector.engine = config, info

    def on_step(self, stats: EngineStats) -> None:
        """Called after each engine step."""
        if stats.step_tokens:
            self._step_tokens.add(stats.step_tokens)

    def on_finished(self, output: RequestOutput, params: SamplingParams) -> None:
        """Called when a request has ended, with all its answers."""
        generated = [len(answer.token_ids) for answer in output.outputs]
        for answer in output.outputs:
            self._success.labels(*self._values, answer.finish_reason or "abort").inc()
        counts = {"request_prompt_tokens": output.num_prompt_tokens, "request_generation_tokens": sum(generated),
                  "request_max_num_generation_tokens": max(generated, default=0), "request_params_n": params.n,
                  "request_params_max_tokens": params.max_tokens,
                  "request_prefill_kv_computed_tokens": output.num_prompt_tokens - (output.num_cached_tokens or 0),
                  "request_num_preemptions": output.metrics.num_preemptions if output.metrics else 0}
        for name, count in counts.items():
            if count is not None:
                self._counts[name].observe(count)
        for name, seconds in _durations(output.metrics, max(generated, default=0)):
            self._seconds[name].observe(max(seconds, 0.0))

    def on_pooled(self, record: PoolingRecord) -> None:
        """Called when a pooling request has ended."""
        self._success.labels(*self._values, record.finish_reason).inc()
        num_computed = record.num_prompt_tokens - record.num_cached_tokens
        for name, count in (("request_prompt_tokens", record.num_prompt_tokens),
                            ("request_prefill_kv_computed_tokens", num_computed),
                            ("request_num_preemptions", record.metrics.num_preemptions)):
            self._counts[name].observe(count)
        for name, seconds in _durations(record.metrics, 0):
            self._seconds[name].observe(max(seconds, 0.0))

    def rejected(self, reason: str) -> None:
        """Counts a request that was refused before it started."""
        self._rejections.labels(*self._values, reason).inc()

    def _histogram(self, name: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(f"weft:{name}", _spelled(name), LABELS, registry=self.registry, buckets=tuple(buckets)).labels(
            *self._values)

    def _light(self, name: str, buckets: Sequence[float]) -> LightHistogram:
        labels: dict[str, str] = dict(zip(LABELS, self._values, strict=True))
        histogram = LightHistogram(f"weft:{name}", _spelled(name), labels, buckets)
        self.registry.register(histogram)
        return histogram

    def _counter(self, name: str, text: str, label: str) -> Counter:
        return Counter(f"weft:{name}", text, (*LABELS, label), registry=self.registry)


def _spelled(name: str) -> str:
    return name.replace("_", " ").capitalize() + "."


def _durations(times: RequestMetrics | None, num_tokens: int) -> Iterator[tuple[str, float]]:
    if times is None or times.finished_time is None:
        return
    yield "e2e_request_latency_seconds", times.finished_time - times.arrival_time
    started, first = times.first_scheduled_time, times.first_token_time
    if started is not None:
        yield "request_queue_time_seconds", started - times.arrival_time
        yield "request_inference_time_seconds", times.finished_time - started
    if first is not None:
        yield "time_to_first_token_seconds", first - times.arrival_time
        decode = (times.last_token_time or first) - first
        yield "request_decode_time_seconds", decode
        if started is not None:
            yield "request_prefill_time_seconds", first - started
        if num_tokens > 1:
            yield "request_time_per_output_token_seconds", decode / (num_tokens - 1)


class _StatsCollector(Collector):
    """Gauges and counters, computed from `EngineStats` at each scrape. engine: the config and info of the last one."""

    def __init__(self, values: tuple[str, str], stats: Callable[[], EngineStats],
                 sleep_state: Callable[[], str]) -> None:
        self._values, self._stats, self._state = values, stats, sleep_state
        self.engine: tuple[EngineConfig, EngineInfo] | None = None

    def describe(self) -> Iterable[Metric]:
        """Returns no metrics, so that registering does not call `collect`."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All gauges and counters, with their current values."""
        stats = self._stats()
        gauges = (("num_requests_running", "Sequences that take part in steps.", stats.num_running),
                  ("num_requests_waiting", "Sequences that wait for their first step.", stats.num_waiting),
                  ("kv_cache_usage_perc", "KV blocks in use, 0 to 1.", stats.kv_cache_usage))
        for name, text, value in gauges:
            yield self._add(GaugeMetricFamily(f"weft:{name}", text, labels=LABELS), value)
        yield self._waiting(stats)
        yield self._sleep_state()
        counters = (("prompt_tokens", "Prompt tokens computed or found cached.", stats.prompt_tokens),
                    ("generation_tokens", "Tokens generated.", stats.generation_tokens),
                    ("prompt_tokens_cached", "Prompt tokens found in the prefix cache.", stats.prefix_cache_hits),
                    ("prefix_cache_queries", "Tokens looked up in the prefix cache.", stats.prefix_cache_queries),
                    ("prefix_cache_hits", "Tokens found in the prefix cache.", stats.prefix_cache_hits),
                    ("mm_cache_queries", "Media items that sequences came to.", stats.media_queries),
                    ("mm_cache_hits", "Media items whose rows the encoder had made before.", stats.media_hits),
                    ("num_preemptions", "Sequences put back to waiting for lack of blocks.", stats.num_preemptions),
                    ("engine_deaths", "Times that the engine's process ended unexpectedly.", stats.num_deaths))
        for name, text, value in counters:
            yield self._add(CounterMetricFamily(f"weft:{name}", text, labels=LABELS), value)
        if self.engine is not None and (speculative := self.engine[0].speculative) is not None:
            yield from self._speculation(speculative.num_speculative_tokens, stats)
        by_source = CounterMetricFamily("weft:prompt_tokens_by_source", "Prompt tokens, by where they came from.",
                                        labels=(*LABELS, "source"))
        self._add(by_source, max(stats.prompt_tokens - stats.prefix_cache_hits, 0), "local_compute")
        yield self._add(by_source, stats.prefix_cache_hits, "local_cache_hit")
        if self.engine is not None:
            yield from self._caches(self.engine[1], stats)
            yield self._cache_config(*self.engine)

    def _waiting(self, stats: EngineStats) -> Metric:
        family = GaugeMetricFamily(
            "weft:num_requests_waiting_by_reason", "Waiting sequences: for a place (capacity), or for their grammar or "
            "for a prefix that another one computes (deferred).", labels=(*LABELS, "reason"))
        self._add(family, stats.num_waiting - stats.num_deferred, "capacity")
        return self._add(family, stats.num_deferred, "deferred")

    def _sleep_state(self) -> Metric:
        family = GaugeMetricFamily(
            "weft:engine_sleep_state", "1 for the state that the engine is in; 0 for all while it sleeps with its "
            "weights in memory.", labels=(*LABELS, "sleep_state"))
        for state in ("awake", "weights_offloaded", "discard_all"):
            self._add(family, state == self._state(), state)
        return family

    def _caches(self, info: EngineInfo, stats: EngineStats) -> Iterator[Metric]:
        for name, text, num_bytes, limit in (
                ("prefix_cache", "cached prefixes, which lie in the KV cache", stats.prefix_cache_bytes,
                 info.kv_cache_bytes),
                ("grammar_cache", "compiled grammars, estimated", stats.grammar_cache_bytes,
                 info.grammar_cache_limit_bytes)):
            for suffix, what, value in (("bytes", "Bytes", num_bytes), ("limit_bytes", "Most bytes", limit)):
                yield self._add(GaugeMetricFamily(f"weft:{name}_{suffix}", f"{what} of {text}.", labels=LABELS), value)

    def _speculation(self, num_drafts: int, stats: EngineStats) -> Iterator[Metric]:
        per_pos = stats.num_accepted_tokens_per_pos
        counters = (("num_drafts", "Times that a sequence's drafts were verified.", stats.num_drafts),
                    ("num_draft_tokens", "Tokens drafted.", stats.num_draft_tokens),
                    ("num_accepted_tokens", "Drafted tokens that became part of an answer.", sum(per_pos)))
        for name, text, value in counters:
            yield self._add(CounterMetricFamily(f"weft:spec_decode_{name}", text, labels=LABELS), value)
        family = CounterMetricFamily("weft:spec_decode_num_accepted_tokens_per_pos",
                                     "Accepted tokens by their place among the drafts.", labels=(*LABELS, "position"))
        for pos in range(num_drafts):
            self._add(family, per_pos[pos] if pos < len(per_pos) else 0, str(pos))
        yield family

    def _add(self, family: GaugeMetricFamily | CounterMetricFamily, value: float, *labels: str) -> Metric:
        family.add_metric((*self._values, *labels), value)
        return family

    def _cache_config(self, config: EngineConfig, info: EngineInfo) -> Metric:
        facts = {"block_size": info.block_size, "num_gpu_blocks": sum(info.num_blocks),
                 "enable_prefix_caching": config.cache.enable_prefix_caching, "cache_dtype": config.cache.dtype,
                 "kv_cache_bytes": info.kv_cache_bytes}
        family = GaugeMetricFamily("weft:cache_config_info", "Sizes of the KV cache.", labels=(*LABELS, *facts))
        return self._add(family, 1, *map(str, facts.values()))

"""/metrics: names, types, labels and buckets of vLLM's metrics, the sizes of caches; and what is written of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml
from fake_engine import FakeEngine
from http_server import running_server
from prometheus_client.parser import text_string_to_metric_families

from weft.config.speculative import read_speculative_config
from weft.engine.process.messages import EngineStats
from weft.server.options import ServerOptions

SPECULATION = {"method": "ngram", "num_speculative_tokens": 3}
ROOT = Path(__file__).parent.parent.parent
DASHBOARD = ROOT / "examples" / "monitoring" / "dashboard.json"

GAUGES = {"num_requests_running", "num_requests_waiting", "num_requests_waiting_by_reason", "kv_cache_usage_perc",
          "cache_config_info", "engine_sleep_state", "prefix_cache_bytes", "prefix_cache_limit_bytes",
          "grammar_cache_bytes", "grammar_cache_limit_bytes", "responses_store_bytes", "responses_store_limit_bytes",
          "chat_template_cache_bytes", "chat_template_cache_limit_bytes", "model_loaded", "model_memory_bytes"}
COUNTERS = {"model_loads", "prompt_tokens", "generation_tokens", "prompt_tokens_cached", "prompt_tokens_by_source",
            "prefix_cache_queries", "prefix_cache_hits", "mm_cache_queries", "mm_cache_hits",
            "num_preemptions", "request_success", "admission_rejections",
            "engine_deaths",
            "spec_decode_num_drafts", "spec_decode_num_draft_tokens", "spec_decode_num_accepted_tokens",
            "spec_decode_num_accepted_tokens_per_pos"}
SECONDS = {"time_to_first_token_seconds", "inter_token_latency_seconds", "request_time_per_output_token_seconds",
           "e2e_request_latency_seconds", "request_queue_time_seconds", "request_inference_time_seconds",
           "request_prefill_time_seconds", "request_decode_time_seconds"}
COUNTS = {"request_prompt_tokens", "request_generation_tokens", "request_max_num_generation_tokens",
          "request_params_max_tokens", "request_params_n", "request_prefill_kv_computed_tokens",
          "request_num_preemptions", "iteration_tokens_total"}
OF_THE_SERVER = {"responses_store_bytes", "responses_store_limit_bytes", "chat_template_cache_bytes",
                 "chat_template_cache_limit_bytes"}
BUCKETS = {
    "e2e_request_latency_seconds": "0.3 0.5 0.8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680",
    "time_to_first_token_seconds": "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 20 40 80 160 "
                                   "640 2560",
    "inter_token_latency_seconds": "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 5 7.5 10 20 40 80",
    "request_prompt_tokens": "1 2 5 10 20 50 100 200 500",
    "iteration_tokens_total": "1 8 16 32 64 128 256 512 1024 2048 4096 8192 16384",
    "request_params_n": "1 2 5 10 20",
}


@pytest.fixture(scope="module")
def engine():
    engine = FakeEngine()
    engine.config = replace(engine.config, speculative=read_speculative_config(SPECULATION))
    return engine


@pytest.fixture(scope="module")
def url(engine):
    with running_server(engine, ServerOptions(api_key=("secret",))) as url:
        httpx.post(f"{url}/v1/completions", json={"prompt": "abc", "max_tokens": 5, "n": 2},
                   headers={"X-API-Key": "secret"})
        httpx.post(f"{url}/v1/completions", json={"prompt": "abc"})      # refused: it has no key
        yield url


@pytest.fixture
def families(url):
    """{name: family} of /metrics."""
    return {family.name: family for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text)}


def values(family, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in family.samples if not sample.name.endswith("_created")}


@pytest.mark.parametrize("kind, names", [("gauge", GAUGES), ("counter", COUNTERS), ("histogram", SECONDS | COUNTS)])
def test_every_metric_has_its_type(families, kind, names):
    found = {name.removeprefix("weft:") for name, family in families.items()
             if name.startswith("weft:") and family.type == kind and not name.endswith("_created")}

    assert found == names


def test_metrics_of_a_model_have_its_name_and_engine_as_labels(families):
    for name in GAUGES | COUNTERS | SECONDS | COUNTS:
        for sample in families[f"weft:{name}"].samples:
            labels = {} if name in OF_THE_SERVER else {"model_name": "toy", "engine": "0"}
            assert labels.items() <= sample.labels.items()


@pytest.mark.parametrize("name", BUCKETS)
def test_histograms_have_vllms_buckets(families, name):
    found = [float(sample.labels["le"]) for sample in families[f"weft:{name}"].samples if "le" in sample.labels]

    assert found == [*map(float, BUCKETS[name].split()), float("inf")]


def test_a_request_is_in_the_histograms(families):
    sums = {name: sum(sample.value for sample in families[f"weft:{name}"].samples if sample.name.endswith("_sum"))
            for name in COUNTS}

    assert sums | {"iteration_tokens_total": 0} == {
        "request_prompt_tokens": 3, "request_generation_tokens": 10, "request_max_num_generation_tokens": 5,
        "request_params_max_tokens": 5, "request_params_n": 2, "request_prefill_kv_computed_tokens": 3,
        "request_num_preemptions": 0, "iteration_tokens_total": 0}


def test_gauges_are_those_of_the_engines_last_step(engine, url):
    engine.stats = EngineStats(num_running=2, num_waiting=5, num_deferred=3, prefix_cache_bytes=2**20,
                               grammar_cache_bytes=2**10, prompt_tokens=100, prefix_cache_hits=40)
    found = {family.name: family for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text)}

    assert values(found["weft:num_requests_waiting_by_reason"], "reason") == {"capacity": 2, "deferred": 3}
    assert values(found["weft:prompt_tokens_by_source"], "source") == {"local_compute": 60, "local_cache_hit": 40}
    assert found["weft:prefix_cache_bytes"].samples[0].value == 2**20
    assert found["weft:grammar_cache_bytes"].samples[0].value == 2**10


@pytest.mark.parametrize("state, awake, discarded", [("awake", 1, 0), ("asleep", 0, 0), ("discard_all", 0, 1)])
def test_an_engine_that_sleeps_is_not_awake_and_may_have_given_up_its_weights(engine, url, state, awake, discarded):
    engine.sleep_state = state
    found = {family.name: family for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text)}

    assert values(found["weft:engine_sleep_state"], "sleep_state") == {
        "awake": awake, "weights_offloaded": 0, "discard_all": discarded}


def test_every_metric_is_in_the_documentation(families):
    text = (ROOT / "docs" / "observability.md").read_text()
    named = set(re.findall(r"`((?:weft:|http_|process_)[a-z0-9_]+)", text))
    there = {name + ("_total" if family.type == "counter" else "") for name, family in families.items()
             if not name.endswith("_created")}

    assert {name for name in there if not name.startswith("process_")} <= named
    assert {name for name in named if not name.startswith("process_")} <= there


def test_the_dashboard_is_the_one_that_its_tool_makes():
    command = [sys.executable, str(ROOT / "tools" / "make_dashboard.py"), "--check"]

    assert subprocess.run(command).returncode == 0, "run tools/make_dashboard.py"


def test_each_expression_of_the_dashboard_names_metrics_and_labels_that_there_are(families):
    labels = {}
    for family in families.values():
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    targets = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"]
               for target in panel.get("targets", ())]

    assert len(targets) > 30
    for expression in targets:
        names = re.findall(r"(?:weft:|http_|process_)\w+", expression)
        assert names
        for name in names:
            assert name in labels, expression
        asked = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        asked |= set(re.findall(r"(\w+)=~", expression))
        for name in names:
            assert asked <= labels[name], expression


def test_what_starts_prometheus_and_grafana_reads_metrics_and_the_dashboard():
    compose = yaml.safe_load((DASHBOARD.parent / "compose.yaml").read_text())

    assert compose.keys() == {"services", "configs"}
    for service in compose["services"].values():      # fields of Compose's specification, and images that stay the same
        assert service.keys() <= {"image", "network_mode", "command", "configs", "environment", "volumes"}
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])
    mounted = [config for service in compose["services"].values() for config in service["configs"]]
    assert all(config.keys() == {"source", "target"} and config["target"].startswith("/") for config in mounted)
    assert sorted(config["source"] for config in mounted) == sorted(compose["configs"])      # each is there, and used

    configs = {name: yaml.safe_load(config["content"]) for name, config in compose["configs"].items()}
    assert configs["prometheus"]["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:8000"]}]
    assert compose["services"]["grafana"]["volumes"] == [f"./{DASHBOARD.name}:/dashboards/weft.json:ro"]
    assert configs["dashboards"]["providers"][0]["options"]["path"] == "/dashboards"

"""A server that speculates: the answers of one that does not, and vLLM's metrics of it."""

from __future__ import annotations

import httpx
import pytest
from http_server import running_server
from isa_levels import native_levels
from prometheus_client.parser import text_string_to_metric_families
from tiny_llama import make_checkpoint

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.server.options import ServerOptions

pytestmark = pytest.mark.skipif(not native_levels(), reason="no native kernels here")

NGRAM = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3, "prompt_lookup_min": 1}
BODIES = [
    {"prompt": "again and again and again", "max_tokens": 60, "temperature": 0, "logprobs": 2},
    {"prompt": "again and again and again", "max_tokens": 60, "temperature": 0.5, "seed": 3, "n": 3},
    {"prompt": ["one one one", "two two two"], "max_tokens": 40, "temperature": 0, "stop": ["o"], "ignore_eos": True},
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("tiny"))


def served(directory, config):
    """(the choices for each body, how many events a stream of the first has, {metric and position: value})."""
    engine = AsyncLLM.from_engine_args(EngineArgs(model=str(directory), kv_cache_memory_bytes=2**22, num_threads=1,
                                                  served_model_name=("tiny",), speculative_config=config))
    try:
        with running_server(engine, ServerOptions()) as url, httpx.Client(base_url=url, timeout=60) as client:
            choices = [client.post("/v1/completions", json={"model": "tiny"} | body).json()["choices"]
                       for body in BODIES]
            stream = client.post("/v1/completions", json={"model": "tiny", "stream": True} | BODIES[0]).text
            samples = [sample for family in text_string_to_metric_families(client.get("/metrics").text)
                       for sample in family.samples if sample.name.startswith("weft:spec_decode")]
        return choices, stream.count("data: "), {
            (sample.name.removeprefix("weft:spec_decode_"), sample.labels.get("position")): sample.value
            for sample in samples}
    finally:
        engine.shutdown()


def test_answers_over_http_are_those_without_and_metrics_count_drafts(directory):
    wanted, _, no_metrics = served(directory, None)
    found, num_events, metrics = served(directory, NGRAM)

    assert found == wanted
    assert num_events < len(wanted[0][0]["logprobs"]["tokens"])                 # an event brings several tokens
    assert no_metrics == {}
    per_position = [metrics.pop(("num_accepted_tokens_per_pos_total", str(pos))) for pos in range(4)]
    assert metrics.keys() == {("num_drafts_total", None), ("num_draft_tokens_total", None),
                              ("num_accepted_tokens_total", None)}
    assert per_position == sorted(per_position, reverse=True) and per_position[3] > 0
    assert metrics["num_accepted_tokens_total", None] == sum(per_position)
    assert sum(per_position) < metrics["num_draft_tokens_total", None] <= 4 * metrics["num_drafts_total", None]

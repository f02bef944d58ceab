"""The routes around generation: models, tokens, health, keys, the page, cross-origin rules."""

from __future__ import annotations

import httpx
import openai
import pytest
from fake_engine import FakeEngine
from toy_engine import EOS

from weft.architectures.model_words import LayerWords, ModelWords
from weft.errors import ConfigError, EngineDeadError
from weft.server.options import ServerOptions
from weft.version import __version__


@pytest.fixture
def url(start_server):
    return start_server(FakeEngine())


def test_models_are_listed_under_every_name(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key="unused")

    cards = client.models.list().data

    assert [(card.id, card.owned_by, card.max_model_len) for card in cards] == [
        ("toy", "weft", 512), ("toy-alias", "weft", 512)]
    assert client.models.retrieve("toy-alias").id == "toy-alias"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_a_model_tells_its_defaults_and_what_it_is_made_of(start_server):
    engine = FakeEngine(generation_defaults={"temperature": 0.3, "max_new_tokens": 99}, max_logprobs=7)
    layer = LayerWords(layers="0-1", numbers=(0, 1), attention="2 heads of 8", positions="none", ffn="silu 16",
                       norms="-", parameters=5, cache_bytes_per_token=3, state_bytes=0)
    engine.info.words = ModelWords("2 layers of 16", "has a table of its own", (layer,))

    meta = httpx.get(start_server(engine) + "/v1/models/toy").json()["meta"]

    defaults = meta["sampling_defaults"]
    assert (defaults["temperature"], defaults["top_p"], defaults["max_tokens"]) == (0.3, 1.0, 99)
    assert (meta["has_chat"], meta["tool_calls"], meta["max_logprobs"]) == (True, False, 7)
    assert meta["words"]["title"] == "2 layers of 16"
    assert (meta["words"]["layers"][0]["numbers"], meta["words"]["layers"][0]["ffn"]) == ([0, 1], "silu 16")


def test_an_answer_names_the_model_as_the_client_did(url):
    answer = httpx.post(f"{url}/v1/completions", json={"prompt": "a", "model": "toy-alias"})

    assert answer.json()["model"] == "toy-alias"


def test_text_becomes_tokens_and_tokens_text(url):
    tokens = httpx.post(f"{url}/tokenize", json={"prompt": "hé", "return_token_strs": True}).json()
    text = httpx.post(f"{url}/detokenize", json={"tokens": [*b"ok", EOS]}).json()

    assert (tokens["count"], tokens["tokens"], tokens["max_model_len"]) == (3, [0x68, 0xC3, 0xA9], 512)
    assert len(tokens["token_strs"]) == 3
    assert text == {"prompt": "ok<|end|>"}


def test_messages_become_the_tokens_of_their_chat(url):
    tokens = httpx.post(f"{url}/tokenize", json={"messages": [{"role": "user", "content": "Hi"}]}).json()["tokens"]

    text = httpx.post(f"{url}/detokenize", json={"tokens": tokens}).json()["prompt"]
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("body, param", [
    ({}, "prompt"), ({"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "prompt"),
    ({"prompt": 1}, "prompt"), ({"messages": []}, "messages")])
def test_what_cannot_be_tokenized_is_refused(url, body, param):
    answer = httpx.post(f"{url}/tokenize", json=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_ids_that_only_the_models_padded_table_has_are_the_empty_text(start_server):
    url = start_server(FakeEngine(vocab_size=300))

    def detokenize(*tokens):
        return httpx.post(f"{url}/detokenize", json={"tokens": tokens})

    assert detokenize(*b"o", 299, *b"k").json() == {"prompt": "ok"}
    assert "from 0 to 299" in detokenize(300).json()["error"]["message"]


@pytest.mark.parametrize("tokens, param", [([-1], "tokens.0"), ([1, 259], "tokens.1"), (["a"], "tokens.0"),
                                           (5, "tokens"), ([2**70], "tokens.0"), ([True], "tokens.0")])
def test_tokens_outside_the_vocabulary_are_refused(url, tokens, param):
    answer = httpx.post(f"{url}/detokenize", json={"tokens": tokens})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_server_that_works_says_so(url):
    assert httpx.get(f"{url}/health").status_code == 200
    assert httpx.get(f"{url}/ping").status_code == 200
    assert httpx.post(f"{url}/ping").status_code == 200
    assert httpx.get(f"{url}/version").json() == {"version": __version__}
    assert httpx.get(f"{url}/load").json() == {"server_load": 0}


def test_a_conversation_with_tools_is_tokenized_as_a_chat_renders_it(start_server):
    template = "{% for tool in tools or [] %}{{ tool.function.name }}: {% endfor %}{{ messages[0].content }}"
    url = start_server(FakeEngine(chat_template=template))
    tool = {"type": "function", "function": {"name": "add"}}

    answer = httpx.post(f"{url}/tokenize", json={"messages": [{"role": "user", "content": "Hi"}], "tools": [tool],
                                                 "return_token_strs": True}).json()

    assert "".join(answer["token_strs"]) == "add: Hi" and answer["count"] == 7


def test_a_dead_engine_makes_health_and_requests_503(start_server):
    url = start_server(FakeEngine(refuse=EngineDeadError("The engine process ended.")))

    health = httpx.get(f"{url}/health")
    answer = httpx.post(f"{url}/v1/completions", json={"prompt": "a"})

    assert health.status_code == answer.status_code == 503
    assert answer.json()["error"]["type"] == "ServiceUnavailableError"


@pytest.mark.parametrize("path", ["/v1/models", "/proxy/v1/models", "/%76%31/models"])
def test_keys_are_asked_for_behind_a_proxys_prefix_too(start_server, path):
    url = start_server(FakeEngine(), api_key=("one",), root_path="/proxy/")

    assert httpx.get(url + path).status_code == 401
    assert httpx.get(url + path, headers={"Authorization": "Bearer one"}).status_code == 200


def test_answers_are_counted_by_route_method_and_status(url):
    httpx.post(f"{url}/v1/completions", json={"prompt": "a"})
    httpx.post(f"{url}/v1/completions", json={"prompt": 7})
    httpx.get(f"{url}/v1/models/toy")
    httpx.get(f"{url}/nowhere")

    metrics = httpx.get(f"{url}/metrics").text

    for labels in ('handler="/v1/completions",method="POST",status="2xx"',
                   'handler="/v1/completions",method="POST",status="4xx"',
                   'handler="/v1/models/{name:path}",method="GET",status="2xx"',
                   'handler="none",method="GET",status="4xx"'):
        assert f"http_requests_total{{{labels}}} 1.0" in metrics
    assert 'http_request_duration_seconds_count{handler="/v1/completions",method="POST"} 2.0' in metrics


def test_metrics_have_the_names_labels_and_buckets_that_dashboards_know(url):
    metrics = httpx.get(f"{url}/metrics").text

    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prompt_tokens_total",
                 "generation_tokens_total", "prefix_cache_queries_total", "prefix_cache_hits_total",
                 "num_preemptions_total", "time_to_first_token_seconds_count", "inter_token_latency_seconds_count",
                 "e2e_request_latency_seconds_count", "request_prompt_tokens_count", "iteration_tokens_total_count"):
        assert f'weft:{name}{{engine="0",model_name="toy"}} ' in metrics
    assert 'weft:request_success_total{engine="0",finished_reason="stop",model_name="toy"} 0.0' in metrics
    assert 'weft:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="toy"} 0.0' in metrics
    assert 'weft:request_prompt_tokens_bucket{engine="0",le="500.0",model_name="toy"} 0.0' in metrics
    assert 'le="1000.0",model_name="toy"' not in metrics.partition("weft:request_prompt_tokens")[2].partition("_sum")[0]


def test_other_origins_read_nothing_unless_they_are_named(url, start_server):
    origin = {"Origin": "https://app.example"}
    open_url = start_server(FakeEngine(), allowed_origins=("https://app.example",), api_key=("k",))

    assert "access-control-allow-origin" not in httpx.get(f"{url}/v1/models", headers=origin).headers
    preflight = httpx.options(f"{open_url}/v1/completions", headers={**origin, "Access-Control-Request-Method": "POST"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "https://app.example")


def test_the_page_loads_nothing_from_elsewhere(url):
    page = httpx.get(url + "/")

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "https://" not in page.text
    assert httpx.get(url + "/playground/page.js").headers["content-type"].startswith("text/javascript")
    assert httpx.get(url + "/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304


def test_the_page_can_be_left_out(start_server):
    assert httpx.get(start_server(FakeEngine(), enable_playground=False) + "/").status_code == 404


@pytest.mark.parametrize("options", [{"port": -1}, {"port": 70000}, {"api_key": ("",)}, {"uvicorn_log_level": "loud"},
                                     {"ssl_keyfile": "k"}, {"shutdown_timeout": float("nan")}, {"max_body_bytes": 1},
                                     {"chat_template_content_format": "x"}])
def test_options_that_cannot_work_are_refused_by_name(options):
    with pytest.raises(ConfigError):
        ServerOptions(**options)


def test_a_generation_config_that_cannot_work_is_told_when_the_server_starts(start_server):
    with pytest.raises(ConfigError, match="temperature"):
        start_server(FakeEngine(generation_defaults={"temperature": 7}))

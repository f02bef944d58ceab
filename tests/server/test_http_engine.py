"""The server over a real engine in its child process: a tiny Llama with random weights."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import threading
import time
from pathlib import Path

import httpx
import openai
import pytest
import torch
from http_server import running_server
from safetensors.torch import load_file
from tiny_llama import make_checkpoint

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.llm import LLM
from weft.sampling_params import SamplingParams
from weft.server.options import ServerOptions

HI = [{"role": "user", "content": "Hi"}]
LONG = {"prompt": "a", "max_tokens": 2000, "ignore_eos": True}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    model = make_checkpoint(tmp_path_factory.mktemp("tiny"), max_position_embeddings=2048)
    engine = AsyncLLM.from_engine_args(EngineArgs(
        model=str(model), kv_cache_memory_bytes=2**22, num_threads=1, served_model_name=("tiny",),
        enable_prompt_embeds=True))
    yield engine
    engine.shutdown()


@pytest.fixture(scope="module")
def url(engine):
    with running_server(engine, ServerOptions()) as url:
        yield url


@pytest.fixture
def client(url):
    return openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0)


def eventually(condition, seconds: float = 20.0) -> bool:
    """True once `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def rows_of(model_path, token_ids) -> str:
    """The rows of the embedding table for these ids, as a client sends them."""
    [file] = Path(model_path).glob("*.safetensors")
    table = load_file(file)["model.embed_tokens.weight"]
    data = io.BytesIO()
    torch.save(table[token_ids], data)
    return base64.b64encode(data.getvalue()).decode()


def test_embeddings_of_a_prompt_are_answered_as_the_prompt_is(client, engine):
    ids = [72, 105, 33, 40, 41]
    options = {"model": "tiny", "max_tokens": 12, "temperature": 0}
    rows = rows_of(engine.config.model.path, ids)
    expected = client.completions.create(**options, prompt=ids)
    alone = client.completions.create(**options, prompt=None, extra_body={"prompt_embeds": rows})
    mixed = client.completions.create(**options, prompt=[ids], extra_body={"prompt_embeds": [rows, rows]})
    chunks = list(client.completions.create(**options, prompt=None, extra_body={"prompt_embeds": rows}, stream=True,
                                            stream_options={"include_usage": True}))

    assert alone.choices[0].text == expected.choices[0].text
    assert [choice.text for choice in mixed.choices] == [expected.choices[0].text] * 3
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == expected.choices[0].text
    assert [usage.prompt_tokens for usage in (alone.usage, mixed.usage, chunks[-1].usage)] == [5, 15, 5]


def test_wrong_embeddings_are_a_400_and_the_prompt_beside_them_is_not_run(engine, url):
    rows = rows_of(engine.config.model.path, [1, 2])
    before = engine.stats.prompt_tokens
    answer = httpx.post(url + "/v1/completions", json={"prompt": "a", "prompt_embeds": [rows, rows[:-40]]})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt_embeds.1")
    assert engine.stats.prompt_tokens == before


def test_greedy_answers_are_the_same_whole_streamed_and_batched(client):
    options = {"model": "tiny", "prompt": "Once upon", "max_tokens": 20, "temperature": 0}
    whole = client.completions.create(**options).choices[0].text
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**options, stream=True))
    batched = client.completions.create(**(options | {"prompt": ["x", "Once upon"]})).choices[1].text

    assert whole == streamed == batched


def test_a_seed_repeats_sampled_answers_and_children_differ(client):
    options = {"model": "tiny", "messages": HI, "max_tokens": 20, "temperature": 1.5, "seed": 3, "n": 3,
               "extra_body": {"ignore_eos": True}}
    first = [choice.message.content for choice in client.chat.completions.create(**options).choices]
    second = [choice.message.content for choice in client.chat.completions.create(**options).choices]

    assert first == second
    assert len(set(first)) == 3


def test_log_probabilities_of_given_tokens_are_those_of_the_whole_report(client):
    options = {"model": "tiny", "prompt": "ab", "max_tokens": 3, "temperature": 0}
    asked = {"logprob_token_ids": [5, 7, 7, 90], "return_tokens_as_token_ids": True}
    best = client.completions.create(**options, logprobs=20, extra_body={"return_tokens_as_token_ids": True})
    found = client.completions.create(**options, extra_body=asked)
    chat = client.chat.completions.create(model="tiny", messages=HI, max_tokens=2, logprobs=True, extra_body=asked)
    echoed = client.completions.create(**options, echo=True, extra_body=asked)

    whole, given = best.choices[0].logprobs, found.choices[0].logprobs
    assert given.tokens == whole.tokens and given.token_logprobs == pytest.approx(whole.token_logprobs)
    for token, top, likeliest in zip(given.tokens, given.top_logprobs, whole.top_logprobs, strict=True):
        assert set(top) == {token, "token_id:5", "token_id:7", "token_id:90"}
        assert all(likeliest[name] == pytest.approx(value) for name, value in top.items() if name in likeliest)
    assert [{top.token for top in entry.top_logprobs} for entry in chat.choices[0].logprobs.content] == [
        {entry.token, "token_id:5", "token_id:7", "token_id:90"} for entry in chat.choices[0].logprobs.content]
    assert echoed.choices[0].logprobs.token_logprobs[0] is None and len(echoed.choices[0].logprobs.tokens) == 5


def test_a_request_that_forbids_every_token_is_refused_and_one_that_comes_to_it_stops(client, engine):
    [eos] = engine.config.model.eos_token_ids
    options = {"model": "tiny", "prompt": "ab", "max_tokens": 9, "temperature": 0}
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**options, extra_body={"allowed_token_ids": [eos], "min_tokens": 3})
    later = client.completions.create(
        **options, extra_body={"allowed_token_ids": [66], "bad_words": ["aa", "bb", "cc"]})

    assert refused.value.param == "allowed_token_ids" and "min_tokens = 3" in refused.value.message
    assert later.choices[0].finish_reason == "stop"
    assert later.choices[0].stop_reason.startswith("no token is allowed: ")
    assert later.usage.completion_tokens == 1


def test_greedy_tokens_are_the_likeliest_of_their_logprobs(client):
    answer = client.chat.completions.create(model="tiny", messages=HI, max_tokens=5, temperature=0, logprobs=True,
                                            top_logprobs=4)

    for entry in answer.choices[0].logprobs.content:
        assert len(entry.top_logprobs) == 4
        assert entry.top_logprobs[0].logprob == max(top.logprob for top in entry.top_logprobs) == entry.logprob


def test_echoed_logprobs_cover_prompt_and_answer(client):
    choice = client.completions.create(model="tiny", prompt="Once", max_tokens=2, echo=True, logprobs=1).choices[0]
    found = choice.logprobs

    assert found.tokens[:4] == ["O", "n", "c", "e"]
    assert found.token_logprobs[0] is None
    assert all(value < 0 for value in found.token_logprobs[1:])
    assert len(found.tokens) == 6


def test_a_repeated_prompt_is_found_in_the_prefix_cache(client):
    options = {"model": "tiny", "prompt": "A prompt that is longer than two blocks of sixteen.", "max_tokens": 1}
    client.completions.create(**options)

    usage = client.completions.create(**options).usage

    assert usage.prompt_tokens_details.cached_tokens == 48


def test_a_cache_salt_keeps_prefixes_apart(client):
    options = {"model": "tiny", "prompt": "Another prompt that is longer than two blocks.", "max_tokens": 1}
    client.completions.create(**options, extra_body={"cache_salt": "mine"})

    assert client.completions.create(**options).usage.prompt_tokens_details.cached_tokens == 0


def test_each_key_has_its_own_prefixes_where_keys_are_kept_apart(engine, start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("one Ann\ntwo Ann\n")
    url = start_server(engine, api_key_file=str(keys), cache_per_key=True)
    options = {"model": "tiny", "prompt": "A third prompt that is longer than two blocks of sixteen.", "max_tokens": 1}

    def num_cached(key: str, **extra: str) -> int:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=key)
        return client.completions.create(**options, extra_body=extra).usage.prompt_tokens_details.cached_tokens

    assert [num_cached("one"), num_cached("two"), num_cached("one"), num_cached("two")] == [0, 0, 48, 48]
    assert num_cached("two", cache_salt="Ann") == num_cached("two", cache_salt="mine") == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path, body", [
    ("/v1/completions", LONG), ("/v1/completions", {**LONG, "prompt": ["a", "b"]}),
    ("/v1/chat/completions", {"messages": HI, "max_tokens": 1900, "ignore_eos": True})],
    ids=["one prompt", "two prompts", "chat"])
def test_a_client_that_leaves_ends_its_request_and_frees_its_blocks(engine, url, path, body, stream):
    connection = send_request(url, path, {**body, "stream": stream})
    assert eventually(lambda: engine.stats.num_running > 0)
    if stream:
        assert connection.recv(100)
    steps = engine.stats.num_steps

    connection.close()

    assert eventually(lambda: engine.stats.num_running == 0 and engine.stats.kv_cache_usage == 0)
    assert engine.stats.num_steps - steps < 1000      # it did not run to its end


def send_request(url: str, path: str, body: dict) -> socket.socket:
    """A connection that has sent a request and reads nothing yet."""
    host, port = url.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    connection = socket.create_connection((host, int(port)))
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: weft\r\nContent-Type: application/json\r\n"
                       f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def test_a_body_that_never_ends_holds_nothing_once_its_client_leaves(url):
    connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: weft\r\nContent-Type: application/json\r\n"
                       b"Content-Length: 100\r\n\r\n{")
    connection.close()

    assert httpx.get(f"{url}/load").json() == {"server_load": 0}


def test_the_openai_client_can_stop_a_stream(engine, client):
    with client.completions.create(model="tiny", prompt="a", max_tokens=2000, stream=True,
                                   extra_body={"ignore_eos": True}) as stream:
        next(iter(stream))

    assert eventually(lambda: engine.stats.num_running == 0)


async def test_many_requests_at_once_are_all_answered_in_full(url):
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="unused") as client:
        answers = await asyncio.gather(*(client.completions.create(
            model="tiny", prompt=f"Number {i}", max_tokens=10, extra_body={"ignore_eos": True}) for i in range(40)))

    assert [answer.usage.completion_tokens for answer in answers] == [10] * 40


def test_a_full_queue_is_a_429_that_says_when_to_come_back_and_is_counted(tmp_path):
    engine = AsyncLLM.from_engine_args(EngineArgs(
        model=str(make_checkpoint(tmp_path / "tiny", max_position_embeddings=2048)), kv_cache_memory_bytes=2**22,
        num_threads=1, max_num_seqs=1, max_num_queued_reqs=1))
    try:
        with running_server(engine, ServerOptions()) as url:
            answers: list[httpx.Response] = []
            threads = [threading.Thread(target=lambda stream=i % 2 == 0: answers.append(httpx.post(
                f"{url}/v1/completions", json={**LONG, "max_tokens": 300, "stream": stream}, timeout=60)))
                for i in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            metrics = httpx.get(f"{url}/metrics").text
    finally:
        engine.shutdown()

    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in refused} == {429}
    assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in refused)
    assert f'reason="max_num_queued_reqs"}} {len(refused)}.0' in metrics
    assert f'http_requests_refused_total{{status="429"}} {len(refused)}.0' in metrics


def test_figures_of_all_requests_are_in_the_metrics(url, client):
    before = figures(url)
    options = {"model": "tiny", "prompt": "abcd", "max_tokens": 6, "extra_body": {"ignore_eos": True}}
    client.completions.create(**options)
    list(client.completions.create(**options | {"max_tokens": 60}, stream=True))

    after = figures(url)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["weft:generation_tokens_total"] == 66
    assert grown["weft:prompt_tokens_total"] == 8
    assert grown['weft:request_success_total{reason="length"}'] == 2
    assert grown["weft:time_to_first_token_seconds_count"] == 2
    assert grown["weft:e2e_request_latency_seconds_count"] == 2
    assert 1 <= grown["weft:inter_token_latency_seconds_count"] <= 59     # tokens that come together share a time
    assert grown["weft:request_generation_tokens_sum"] == 66
    assert grown["weft:iteration_tokens_total_sum"] == 8 + 5 + 59
    assert after["weft:num_requests_running"] == 0
    assert after["weft:kv_cache_usage_perc"] == 0


def figures(url: str) -> dict[str, float]:
    """{name: value} of /metrics; labels left out, but for the reason a request ended."""
    found = {}
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if not line.startswith("#") and "_bucket" not in line:
            name, _, labels = line.rpartition(" ")[0].partition("{")
            reason = labels.partition('finished_reason="')[2].partition('"')[0]
            found[name + (f'{{reason="{reason}"}}' if reason else "")] = float(line.rpartition(" ")[2])
    return found


def test_the_best_of_several_answers_are_those_of_all_of_them(url):
    body = {"prompt": "ab", "temperature": 1.0, "seed": 3, "max_tokens": 5, "logprobs": 0, "ignore_eos": True}
    drawn = httpx.post(url + "/v1/completions", json={**body, "n": 5}).json()["choices"]
    ranked = sorted(drawn, key=lambda choice: -sum(choice["logprobs"]["token_logprobs"]))

    best = httpx.post(url + "/v1/completions", json={**body, "n": 2, "best_of": 5}).json()

    assert [choice["index"] for choice in best["choices"]] == [0, 1]
    assert [choice["text"] for choice in best["choices"]] == [choice["text"] for choice in ranked[:2]]
    assert best["usage"]["completion_tokens"] == 10


def test_a_beam_search_gives_the_answers_that_it_gives_in_python(url, engine):
    body = {"n": 2, "best_of": 3, "use_beam_search": True, "length_penalty": 0.5, "max_tokens": 4,
            "return_token_ids": True}
    completion = httpx.post(url + "/v1/completions", json={"prompt": ["ab", "c"], **body}).json()
    chat = httpx.post(url + "/v1/chat/completions", json={"messages": HI, **body}).json()

    params = SamplingParams(n=2, best_of=3, use_beam_search=True, length_penalty=0.5, max_tokens=4, temperature=0)
    prompts = ["ab", "c", {"prompt_token_ids": chat["prompt_token_ids"]}]
    with LLM(engine.config.model.path, num_threads=1, use_tqdm_on_load=False) as llm:
        wanted = [answer.token_ids for output in llm.generate(prompts, params, use_tqdm=False)
                  for answer in output.outputs]
    choices = completion["choices"] + chat["choices"]
    assert [choice["token_ids"] for choice in choices] == wanted
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3, 0, 1]
    assert {choice["finish_reason"] for choice in choices} <= {"length", "stop"}
    assert eventually(lambda: engine.stats.num_running == engine.stats.num_waiting == 0)

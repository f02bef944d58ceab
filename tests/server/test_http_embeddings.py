"""/v1/embeddings and /pooling over a real engine: shapes, numbers, faults, company, deadlines, clients that leave."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import torch
import torch.nn.functional as F
from fake_engine import FakeEngine
from http_server import running_server
from tiny_encoders import MAX_LEN, VOCAB_SIZE, token_states, write_encoder
from toy_engine import save_tokenizer
from waiting import until

from weft.async_llm import AsyncLLM
from weft.cli.main import main
from weft.config.engine_args import EngineArgs
from weft.server.options import ServerOptions
from weft.server.pooling import job
from weft.server.pooling.inputs import MAX_INPUTS

TEXTS = ["a text", "another", "the third one"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, torch.nn.Module]:
    """An encoder whose tokenizer gives bytes."""
    path = tmp_path_factory.mktemp("bert")
    model = write_encoder(path)
    save_tokenizer(path)
    return path, model


@pytest.fixture(scope="module")
def engine(tiny):
    engine = AsyncLLM.from_engine_args(EngineArgs(
        model=str(tiny[0]), num_threads=1, dtype="float32", served_model_name=("tiny",), use_tqdm_on_load=False,
        scheduling_policy="priority"))
    yield engine
    engine.shutdown()


@pytest.fixture(scope="module")
def url(engine):
    with running_server(engine, ServerOptions()) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def vector(tiny, text: str) -> torch.Tensor:
    return F.normalize(token_states(tiny[1], list(text.encode()))[0], dim=-1)


def post(client, path: str = "/v1/embeddings", /, **body) -> httpx.Response:
    return client.post(path, json=body)


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["param"]


def test_each_text_becomes_its_vector_in_order(client, tiny):
    answer = post(client, input=TEXTS, model="tiny").json()

    assert (answer["object"], answer["model"], answer["id"][:5]) == ("list", "tiny", "embd-")
    assert [(entry["index"], entry["object"]) for entry in answer["data"]] == [(i, "embedding") for i in range(3)]
    for entry, text in zip(answer["data"], TEXTS, strict=True):
        assert torch.allclose(torch.tensor(entry["embedding"]), vector(tiny, text), atol=2e-5)
    assert answer["usage"] == {"prompt_tokens": 26, "total_tokens": 26}


@pytest.mark.parametrize(("given", "texts"), [
    ("ab", ["ab"]), ([97, 98], ["ab"]), ([97.0, 98.0], ["ab"]), (["ab"], ["ab"]), ([[97, 98], "c"], ["ab", "c"]),
    ([[97], [98]], ["a", "b"])])
def test_an_input_is_a_text_or_token_ids_or_a_list_of_these(client, tiny, given, texts):
    found = [entry["embedding"] for entry in post(client, input=given).json()["data"]]

    assert torch.allclose(torch.tensor(found), torch.stack([vector(tiny, text) for text in texts]), atol=2e-5)


def test_the_official_client_reads_base64_by_itself(url, tiny):
    with openai.OpenAI(base_url=url + "/v1", api_key="unused") as official:
        asked = official.embeddings.create(model="tiny", input=TEXTS)
        listed = official.embeddings.create(model="tiny", input=TEXTS, encoding_format="float", user="me")

    assert asked.usage.total_tokens == 26
    assert [entry.embedding for entry in asked.data] == [entry.embedding for entry in listed.data]
    assert torch.allclose(torch.tensor(asked.data[2].embedding), vector(tiny, TEXTS[2]), atol=2e-5)


@pytest.mark.parametrize(("dtype", "view"), [("float32", "f4"), ("float16", "f2")])
@pytest.mark.parametrize(("endianness", "mark"), [("little", "<"), ("big", ">")])
def test_bytes_have_the_type_and_order_that_were_asked_for(client, dtype, view, endianness, mark):
    kind = {"embed_dtype": dtype, "endianness": endianness}
    wanted = np.array([entry["embedding"] for entry in post(client, input=TEXTS).json()["data"]], np.float32)

    text = post(client, input=TEXTS, encoding_format="base64", **kind).json()["data"]
    plain = post(client, input=TEXTS, encoding_format="bytes", **kind)
    only = post(client, input=TEXTS, encoding_format="bytes_only", **kind)

    assert plain.headers["content-type"] == "application/octet-stream"
    metadata = json.loads(plain.headers["metadata"])
    assert only.content == plain.content and "metadata" not in only.headers
    assert [base64.b64decode(entry["embedding"]) for entry in text] == [
        plain.content[place["start"]: place["end"]] for place in metadata["data"]]
    assert metadata["data"][1] == {"index": 1, **kind, "shape": [64], "start": metadata["data"][0]["end"],
                                   "end": 2 * metadata["data"][0]["end"]}
    found = np.frombuffer(plain.content, mark + view).reshape(3, 64)
    assert np.array_equal(found, wanted.astype(view))


def test_bytes_whose_description_no_header_holds_are_refused(client):
    texts = ["a"] * 300

    answer = post(client, input=texts, encoding_format="bytes")

    assert error_of(answer) == (400, "encoding_format") and "bytes_only" in answer.json()["error"]["message"]
    assert len(post(client, input=texts, encoding_format="bytes_only").content) == 300 * 64 * 4


def test_the_states_of_tokens_and_vectors_come_from_pooling(client, tiny):
    states = post(client, "/pooling", input="abc").json()
    vectors = post(client, "/pooling", input="abc", task="embed", use_activation=False).json()["data"][0]
    packed = post(client, "/pooling", input=["abc"], encoding_format="base64").json()["data"][0]["data"]

    wanted = token_states(tiny[1], list(b"abc"))
    assert states["id"].startswith("pool-") and states["data"][0]["object"] == "pooling"
    assert torch.allclose(torch.tensor(states["data"][0]["data"]), wanted, atol=2e-5)
    assert torch.allclose(torch.tensor(vectors["data"]), wanted[0], atol=2e-5)
    assert np.allclose(np.frombuffer(base64.b64decode(packed), np.float32).reshape(3, 64), wanted, atol=2e-5)


def test_a_conversation_is_rendered_and_pooled(client, tiny):
    answer = post(client, messages=[{"role": "user", "content": "Hi"}]).json()

    rendered = token_states(tiny[1], [257, *b"user\nHi", 258, 10])[0]
    assert torch.allclose(torch.tensor(answer["data"][0]["embedding"]), F.normalize(rendered, dim=-1), atol=2e-5)


@pytest.mark.parametrize(("options", "text"), [
    ({"truncate_prompt_tokens": 2}, "ab"), ({"truncate_prompt_tokens": 2, "truncation_side": "left"}, "cd"),
    ({"truncate_prompt_tokens": -1}, "abcd"), ({"add_special_tokens": False}, "abcd")])
def test_a_text_is_cut_as_asked(client, tiny, options, text):
    answer = post(client, input="abcd", **options).json()

    assert torch.allclose(torch.tensor(answer["data"][0]["embedding"]), vector(tiny, text), atol=2e-5)
    assert answer["usage"]["prompt_tokens"] == len(text)


@pytest.mark.parametrize(("body", "param"), [
    ({}, "input"), ({"input": []}, "input"), ({"input": ""}, "input"), ({"input": ["a", ""]}, "input.1"),
    ({"input": [[]]}, "input.0"), ({"input": 5}, "input"), ({"input": {"text": "a"}}, "input"),
    ({"input": ["a", 5]}, "input.1"), ({"input": [5, "a"]}, "input.0"), ({"input": ["a", [["b"]]]}, "input.1"),
    ({"input": [[1, "a"]]}, "input.0"), ({"input": [True]}, "input.0"), ({"input": [[1, VOCAB_SIZE]]}, "input.0.1"),
    ({"input": [-1]}, "input.0"), ({"input": ["a", "b" * 129]}, "input.1"),
    ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, "input"),
    ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"), ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ({"input": "a", "embed_dtype": "float16"}, "embed_dtype"), ({"input": "a", "endianness": "big"}, "endianness"),
    ({"input": "a", "truncate_prompt_tokens": MAX_LEN + 1}, "truncate_prompt_tokens"),
    ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
    ({"input": "a", "truncation_side": "up"}, "truncation_side"), ({"input": "a", "timeout": 0}, "timeout"),
    ({"input": "a", "use_activation": True, "normalize": False}, "normalize"),
    ({"input": "a", "chat_template": "x"}, "chat_template"),
])
def test_what_is_wrong_is_one_error_that_names_its_place_and_the_next_request_is_answered(client, body, param):
    answer = post(client, **body)

    assert error_of(answer) == (400, param)
    assert post(client, input="a").status_code == 200


def test_a_model_that_is_not_there_or_of_another_kind_is_told_with_what_to_do(client, start_server):
    generating = start_server(FakeEngine())

    assert error_of(post(client, input="a", model="other")) == (404, "model")
    for path, body in (("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
                       ("/v1/completions", {"prompt": "a"}), ("/v1/responses", {"input": "a"}),
                       ("/classify", {"input": "a"}), ("/pooling", {"input": "a", "task": "classify"})):
        answer = post(client, path, **body)
        assert error_of(answer) == (400, "model") and "send /v1/embeddings" in answer.json()["error"]["message"]
    messages = post(client, "/v1/messages", max_tokens=3, messages=[{"role": "user", "content": "a"}])
    assert messages.status_code == 400 and "/v1/embeddings" in messages.json()["error"]["message"]
    for path in ("/v1/embeddings", "/pooling", "/classify"):
        answer = httpx.post(generating + path, json={"input": "a"})
        assert error_of(answer) == (400, "model")
        assert "send /v1/chat/completions" in answer.json()["error"]["message"]


def test_fields_that_nobody_knows_are_named(client):
    assert post(client, input="a", inputs="b", user="me").headers["x-weft-ignored-fields"] == "inputs"
    assert post(client, input="a", mm_processor_kwargs={"a": 1}).status_code == 501


async def test_thousands_of_texts_come_back_in_order_while_others_are_answered(url, tiny):
    texts = [f"text number {i}" for i in range(10_000)]
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        many = asyncio.create_task(client.post("/v1/embeddings", json={"input": texts, "encoding_format": "base64"}))
        answered = 0
        while not many.done():
            assert (await client.get("/health")).status_code == 200
            assert (await client.post("/v1/embeddings", json={"input": "a"})).status_code == 200
            answered += 1
        found = (await many).json()

    assert answered > 5
    assert found["usage"]["prompt_tokens"] == sum(map(len, texts))
    for i in (0, 1, 5_000, 9_999):
        array = np.frombuffer(base64.b64decode(found["data"][i]["embedding"]), np.float32)
        assert found["data"][i]["index"] == i
        assert torch.allclose(torch.tensor(array), vector(tiny, texts[i]), atol=2e-5)


def is_empty(engine) -> bool:
    """True as soon as nothing runs or waits in the engine."""
    return until(lambda: not (engine.stats.num_running or engine.stats.num_waiting))


LARGE = {"input": ["x" * 100] * 8_000}


def test_a_request_whose_time_is_over_is_a_408_and_leaves_nothing(client, engine, url):
    assert error_of(post(client, **LARGE, timeout=0.2)) == (408, "timeout")
    assert is_empty(engine)
    assert client.get("/load").json() == {"server_load": 0}


def test_a_client_that_leaves_ends_its_texts(client, engine):
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/embeddings", json=LARGE, timeout=0.5)
    before = engine.stats.prompt_tokens

    assert is_empty(engine)
    assert engine.stats.prompt_tokens - before < 400_000      # of 800,000
    assert post(client, input="a").status_code == 200


async def test_a_short_queue_slows_a_request_and_refuses_only_what_it_takes_nothing_of(tiny):
    engine = AsyncLLM.from_engine_args(EngineArgs(
        model=str(tiny[0]), num_threads=1, dtype="float32", use_tqdm_on_load=False, max_num_seqs=2,
        max_num_queued_reqs=3, scheduling_policy="priority"))
    try:
        with running_server(engine, ServerOptions()) as url:
            async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                alone = await client.post("/v1/embeddings", json={"input": [f"text {i}" for i in range(200)]})
                together = await asyncio.gather(*(
                    client.post("/v1/embeddings", json={"input": ["x" * 100] * 20}) for _ in range(30)))
                metrics = (await client.get("/metrics")).text
    finally:
        engine.shutdown()

    assert alone.status_code == 200 and len(alone.json()["data"]) == 200
    statuses = [answer.status_code for answer in together]
    assert set(statuses) == {200, 429}
    refused = [answer for answer in together if answer.status_code == 429]
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert all(len(answer.json()["data"]) == 20 for answer in together if answer.status_code == 200)
    counted = re.findall(r"^weft:admission_rejections_total{.*} ([0-9.]+)$", metrics, re.MULTILINE)
    assert sum(map(float, counted)) == len(refused)


def test_an_answer_of_too_many_numbers_is_refused(client, monkeypatch):
    monkeypatch.setattr(job, "MAX_ANSWER_BYTES", 1000)

    assert error_of(post(client, "/pooling", input=["abc", "abcde"])) == (400, "input")
    assert post(client, input=["abc"]).status_code == 200


def test_requests_are_ended_by_their_id_in_development_mode(engine):
    with running_server(engine, ServerOptions(dev_mode=True)) as url, httpx.Client(base_url=url, timeout=60) as client:
        async def main() -> httpx.Response:
            async with httpx.AsyncClient(base_url=url, timeout=60) as other:
                asked = asyncio.create_task(other.post("/v1/embeddings", json=LARGE | {"request_id": "mine"}))
                while not (await other.post("/abort_requests", json={"request_ids": ["mine"]})).json()["aborted"]:
                    await asyncio.sleep(0.01)
                return await asked

        answer = asyncio.run(main())
        assert answer.status_code == 503 and "ended before" in answer.json()["error"]["message"]
        assert post(client, input="a").status_code == 200
    assert is_empty(engine)


def test_a_priority_is_taken_and_a_wrong_one_refused(client):
    assert post(client, input="a", priority=-3).status_code == 200
    assert error_of(post(client, input="a", priority=2**70)) == (400, "priority")


def test_texts_and_their_tokens_are_in_the_metrics(client):
    def figure(name: str) -> float:
        [line] = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"weft:{name}")
                  and ('finished_reason="stop"' in line or "finished_reason" not in line)]
        return float(line.rpartition(" ")[2])

    names = ("request_success_total", "request_prompt_tokens_sum", "e2e_request_latency_seconds_count",
             "request_queue_time_seconds_count", "time_to_first_token_seconds_count")
    before = [figure(name) for name in names]
    post(client, input=["abc", "de"])

    assert [figure(name) - start for name, start in zip(names, before, strict=True)] == [2, 5, 2, 2, 0]


def test_a_benchmark_measures_the_route(url, capsys, tmp_path, kept_logging):
    command = ["bench", "serve", "--base-url", url, "--num-prompts", "6", "--num-warmups", "1", "--input-len", "8"]

    by_backend = main([*command, "--backend", "openai-embeddings", "--batch-size", "3", "--output-json",
                       str(tmp_path / "out.json")])
    by_route = main([*command, "--endpoint", "/v1/embeddings"])
    wrong = main([*command, "--endpoint", "/v1/embeddings", "--backend", "openai"])

    measured = json.loads((tmp_path / "out.json").read_text())
    assert (by_backend, by_route, wrong) == (0, 0, 1)
    assert {name: measured["totals"][name] for name in ("requests answered", "texts", "prompt tokens")} == {
        "requests answered": 6, "texts": 18, "prompt tokens": 18 * 8}
    assert len(measured["samples"]["E2EL (ms)"]) == 6 and not measured["samples"]["TTFT (ms)"]
    assert "expected a route of completions" in capsys.readouterr().err

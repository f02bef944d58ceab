"""/score and /rerank over a cross-encoder and a bi-encoder: the numbers of Transformers, in every form of texts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
import torch
import torch.nn.functional as F
from fake_engine import FakeEngine
from http_server import running_server
from tiny_encoders import MAX_LEN, write_encoder, write_sentence_files
from tiny_poolers import write_model
from word_tokenizer import save_word_tokenizer

from weft.async_llm import AsyncLLM
from weft.cli.main import main
from weft.config.engine_args import EngineArgs
from weft.server.options import ServerOptions
from weft.server.pooling.inputs import MAX_INPUTS

QUERY, TEXTS = "w1 w2 w3", ["w4 w5", "w1 w2 w6 w7 w8 w9", "w3", "w5 w5 w5"]


def serve(path: Path, chat_template: str | None = None, **options):
    engine = AsyncLLM.from_engine_args(EngineArgs(
        model=str(path), num_threads=1, dtype="float32", served_model_name=("tiny",), use_tqdm_on_load=False,
        chat_template=chat_template))
    try:
        with running_server(engine, ServerOptions(**options)) as url, httpx.Client(base_url=url, timeout=60) as client:
            yield client
    finally:
        engine.shutdown()


@pytest.fixture(scope="module")
def cross_model(tmp_path_factory):
    """A cross-encoder in BERT's form: (its path, Transformers' model, Transformers' tokenizer)."""
    path = tmp_path_factory.mktemp("cross")
    model = write_model(path, "BertForSequenceClassification", num_labels=1, max_position_embeddings=MAX_LEN)
    return path, model, save_word_tokenizer(path)


@pytest.fixture(scope="module")
def cross(cross_model):
    yield from serve(cross_model[0])


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """A bi-encoder that pools by the mean: (its path, Transformers' model, Transformers' tokenizer)."""
    path = tmp_path_factory.mktemp("embedder")
    model = write_encoder(path)
    write_sentence_files(path)
    (path / "config_sentence_transformers.json").write_text('{"prompts": {"query": "w9 ", "passage": "w8 "}}')
    return path, model, save_word_tokenizer(path)


@pytest.fixture(scope="module")
def bi(embedder):
    yield from serve(embedder[0])


@torch.inference_mode()
def logit(cross_model, first: str, second: str, **options) -> float:
    _, model, tokenizer = cross_model
    return float(model(**tokenizer(first, second, return_tensors="pt", **options)).logits)


def wanted(cross_model, first: str, second: str, **options) -> float:
    return float(torch.tensor(logit(cross_model, first, second, **options)).sigmoid())


@torch.inference_mode()
def vector(embedder, text: str, **options) -> torch.Tensor:
    _, model, tokenizer = embedder
    states = model(**tokenizer(text, return_tensors="pt", **options)).last_hidden_state[0]
    return F.normalize(states.mean(dim=0), dim=-1)


def scores(answer: httpx.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return [entry["score"] for entry in answer.json()["data"]]


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["param"]


@pytest.mark.parametrize("names", [("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"),
                                   ("queries", "items")])
def test_one_text_is_scored_with_each_of_several(cross, cross_model, names):
    answer = cross.post("/score", json=dict(zip(names, (QUERY, TEXTS), strict=True)))

    body = answer.json()
    assert (body["id"][:6], body["object"], body["model"]) == ("score-", "list", "tiny")
    assert [(entry["index"], entry["object"]) for entry in body["data"]] == [(i, "score") for i in range(4)]
    assert scores(answer) == pytest.approx([wanted(cross_model, QUERY, text) for text in TEXTS], abs=1e-5)
    lengths = [len(cross_model[2](QUERY, text)["input_ids"]) for text in TEXTS]
    assert body["usage"] == {"prompt_tokens": sum(lengths), "total_tokens": sum(lengths)}


def test_lists_are_scored_pair_by_pair_and_two_texts_as_one_pair(cross, cross_model):
    paired = scores(cross.post("/v1/score", json={"data_1": TEXTS, "data_2": TEXTS[::-1]}))
    one = scores(cross.post("/v1/score", json={"data_1": {"text": QUERY}, "data_2": {
        "content": [{"type": "text", "text": TEXTS[0]}]}}))
    raw = scores(cross.post("/score", json={"data_1": QUERY, "data_2": TEXTS[0], "use_activation": False}))

    assert paired == pytest.approx([wanted(cross_model, *pair) for pair in zip(TEXTS, TEXTS[::-1], strict=True)],
                                   abs=1e-5)
    assert one == pytest.approx([wanted(cross_model, QUERY, TEXTS[0])], abs=1e-5)
    assert raw == pytest.approx([logit(cross_model, QUERY, TEXTS[0])], abs=1e-4)


def test_a_salt_changes_no_score(cross):
    plain, salted = (scores(cross.post("/score", json={"data_1": QUERY, "data_2": TEXTS} | salt))
                     for salt in ({}, {"cache_salt": "mine"}))

    assert salted == pytest.approx(plain, abs=1e-6)
    assert error_of(cross.post("/score", json={"data_1": "a", "data_2": "b", "cache_salt": ""})) == (400, "cache_salt")


def test_texts_and_pairs_are_cut_as_asked(cross, cross_model):
    long = " ".join(f"w{i}" for i in range(40))
    cut = scores(cross.post("/score", json={"data_1": QUERY, "data_2": long, "max_tokens_per_doc": 5,
                                            "max_tokens_per_query": 2}))
    pair = scores(cross.post("/score", json={"data_1": QUERY, "data_2": long, "truncate_prompt_tokens": 16}))

    assert cut == pytest.approx([wanted(cross_model, "w1 w2", "w0 w1 w2 w3 w4")], abs=1e-5)
    assert pair == pytest.approx([wanted(cross_model, QUERY, long, truncation="longest_first", max_length=16)],
                                 abs=1e-5)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_ranked_by_their_scores(cross, cross_model, path):
    documents = [TEXTS[0], {"text": TEXTS[1]}, *TEXTS[2:]]
    answer = cross.post(path, json={"model": "tiny", "query": QUERY, "documents": documents, "top_n": 3}).json()
    bare = cross.post(path, json={"query": QUERY, "documents": documents, "return_documents": False}).json()

    values = [wanted(cross_model, QUERY, text) for text in TEXTS]
    order = sorted(range(4), key=lambda i: -values[i])
    assert answer["id"].startswith("rerank-") and answer["model"] == "tiny" and answer["usage"]["total_tokens"] > 0
    assert [entry["index"] for entry in answer["results"]] == order[:3]
    assert [entry["document"] for entry in answer["results"]] == [{"text": TEXTS[i]} for i in order[:3]]
    assert [entry["relevance_score"] for entry in bare["results"]] == pytest.approx([values[i] for i in order],
                                                                                    abs=1e-5)
    assert all(entry.keys() == {"index", "relevance_score"} for entry in bare["results"])


def test_an_embedder_scores_by_the_cosine(bi, embedder):
    values = [float(vector(embedder, QUERY) @ vector(embedder, text)) for text in TEXTS]
    ranked = bi.post("/rerank", json={"query": QUERY, "documents": TEXTS}).json()["results"]

    assert scores(bi.post("/score", json={"data_1": QUERY, "data_2": TEXTS})) == pytest.approx(values, abs=1e-5)
    assert [entry["relevance_score"] for entry in ranked] == pytest.approx(sorted(values)[::-1], abs=1e-5)


@pytest.mark.parametrize(("path", "body", "param"), [
    ("/score", {}, "data_1"), ("/score", {"data_1": "a"}, "data_1"),
    ("/score", {"text_1": "a", "data_2": "b"}, "data_2"),
    ("/score", {"queries": "a", "documents": "b", "items": "c"}, "documents"),
    ("/score", {"data_1": [], "data_2": "a"}, "data_1"), ("/score", {"data_1": "a", "data_2": ["b", ""]}, "data_2.1"),
    ("/score", {"data_1": ["a", "b"], "data_2": ["c"]}, "data_1"),
    ("/score", {"text_1": ["a", "b"], "text_2": ["c", "d", "e"]}, "text_1"),
    ("/score", {"data_1": 5, "data_2": "a"}, "data_1"), ("/score", {"data_1": "a", "data_2": [["b"]]}, "data_2.0"),
    ("/score", {"data_1": "a", "data_2": [{"txt": "b"}]}, "data_2.0"),
    ("/score", {"data_1": "a", "data_2": ["b"] * (MAX_INPUTS + 1)}, "data_2"),
    ("/score", {"data_1": "a", "data_2": ["b", "w1 " * 200]}, "data_2.1"),
    ("/score", {"data_1": "a", "data_2": "b", "max_tokens_per_doc": -1}, "max_tokens_per_doc"),
    ("/rerank", {"query": "a"}, "documents"), ("/rerank", {"documents": ["a"]}, "query"),
    ("/rerank", {"query": "", "documents": ["a"]}, "query"), ("/rerank", {"query": ["a"], "documents": ["a"]}, "query"),
    ("/rerank", {"query": "a", "documents": "b"}, "documents"),
    ("/rerank", {"query": "a", "documents": []}, "documents"),
    ("/rerank", {"query": "a", "documents": ["b", 5]}, "documents.1"),
    ("/rerank", {"query": "a", "documents": ["b"], "top_n": -1}, "top_n"),
    ("/rerank", {"query": "a", "documents": ["b", "w1 " * 200]}, "documents.1"),
])
def test_what_is_wrong_is_one_error_that_names_its_place_and_the_next_request_is_answered(cross, path, body, param):
    assert error_of(cross.post(path, json=body)) == (400, param)
    assert cross.post("/score", json={"data_1": "w1", "data_2": "w2"}).status_code == 200


def test_what_weft_has_no_code_for_is_a_501(cross):
    pictures = [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]

    assert error_of(cross.post("/rerank", json={"query": "a", "documents": pictures})) == (501, "documents.0")


TEMPLATE = ("{{ messages | selectattr('role', 'eq', 'system') | map(attribute='content') | join }} "
            "{{ first }} {% for m in messages %}{% if m.role != 'system' %}{{ m.content }} {% endif %}{% endfor %}")


def test_a_template_writes_the_pair_and_reads_the_instruction(cross_model):
    body = {"data_1": "w1", "data_2": "w2", "chat_template": TEMPLATE, "chat_template_kwargs": {"first": "w3"},
            "instruction": "w4"}
    ranked = {"query": "w1", "documents": ["w2"], **{name: body[name] for name in list(body)[2:]}}
    text = "w4 w3 w1 w2"
    _, model, tokenizer = cross_model
    with torch.inference_mode():
        expected = model(**tokenizer(text, return_tensors="pt")).logits.sigmoid().item()
    for client in serve(cross_model[0], trust_request_chat_template=True):
        assert scores(client.post("/score", json=body)) == pytest.approx([expected], abs=1e-5)
        answer = client.post("/rerank", json=ranked).json()
        assert answer["results"][0]["relevance_score"] == pytest.approx(expected, abs=1e-5)


def test_a_servers_own_template_writes_all_pairs(cross_model):
    for client in serve(cross_model[0], chat_template="{{ messages[1].content }} {{ messages[0].content }}"):
        found = scores(client.post("/score", json={"data_1": "w1", "data_2": "w2"}))
    with torch.inference_mode():
        expected = cross_model[1](**cross_model[2]("w2 w1", return_tensors="pt")).logits.sigmoid().item()

    assert found == pytest.approx([expected], abs=1e-5)


def test_templates_that_cannot_be_used_are_refused(cross, bi, embedder):
    for body, param in (({"chat_template": TEMPLATE}, "chat_template"), ({"instruction": "c"}, "instruction"),
                        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs")):
        assert error_of(cross.post("/score", json={"data_1": "a", "data_2": "b", **body})) == (400, param)
    for client in serve(embedder[0], trust_request_chat_template=True):
        body = {"data_1": "a", "data_2": "b", "chat_template": TEMPLATE}
        assert error_of(client.post("/score", json=body)) == (400, "chat_template")


def test_a_limit_that_leaves_nothing_of_a_text_is_an_error(cross):
    marks = "[SEP] w1"      # the first token is a special one, whose text is left out
    body = {"data_1": marks, "data_2": "w2", "max_tokens_per_query": 1}

    assert error_of(cross.post("/score", json=body)) == (400, "max_tokens_per_query")


def test_a_prompt_that_is_not_to_be_pooled_is_not_put_before_texts(tmp_path):
    write_encoder(tmp_path)
    write_sentence_files(tmp_path)
    save_word_tokenizer(tmp_path)
    (tmp_path / "config_sentence_transformers.json").write_text('{"prompts": {"query": "w9 "}}')
    file = tmp_path / "1_Pooling" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"include_prompt": False}))
    for client in serve(tmp_path):
        assert client.post("/v2/embed", json={"texts": ["w1"]}).status_code == 200
        answer = client.post("/v2/embed", json={"texts": ["w1"], "input_type": "query"})
        assert error_of(answer) == (501, "input_type")


def test_models_of_other_kinds_are_told_with_what_to_do(cross, start_server, bi):
    generating = httpx.post(start_server(FakeEngine()) + "/rerank", json={"query": "a", "documents": ["b"]})

    assert error_of(generating) == (400, "model") and "send /v1/chat/comp" in generating.json()["error"]["message"]
    assert error_of(cross.post("/v2/embed", json={"texts": ["a"]})) == (400, "model")


@pytest.mark.parametrize(("body", "key"), [
    ({"input": TEXTS[0]}, "data"), ({"query": QUERY, "documents": TEXTS}, "results"), ({"texts": TEXTS}, "embeddings"),
    ({"data_1": QUERY, "data_2": TEXTS}, "data"), ({"queries": QUERY, "documents": TEXTS}, "data")])
def test_invocations_answer_by_the_fields_of_the_body(bi, body, key):
    assert len(bi.post("/invocations", json=body).json()[key]) >= 1


def test_invocations_of_a_classifier_classify(cross):
    assert cross.post("/invocations", json={"input": "w1"}).json()["id"].startswith("classify-")
    assert error_of(cross.post("/invocations", json={"prompt": "w1"})) == (400, None)


def example_with(text: str) -> str:
    """The Python block of docs/pooling.md that has `text`."""
    page = (Path(__file__).parents[2] / "docs" / "pooling.md").read_text()
    [source] = [block for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
                if text in block]
    return source


def test_the_examples_of_the_page_run(bi, capsys):
    url = str(bi.base_url).rstrip("/")
    exec(example_with("OpenAI(").replace("http://127.0.0.1:8000", url).replace("path/to/embedder", "tiny"), {})
    exec(example_with("httpx.post(").replace("http://127.0.0.1:8000", url), {})

    numbers, *ranked = capsys.readouterr().out.splitlines()
    assert numbers.split()[:2] == ["2", "64"]
    assert sorted(line.partition(" ")[2] for line in ranked) == ["Bread is baked from flour.",
                                                                 "Iron is smelted from ore."]


# Cohere's vectors


def embed(client, path: str = "/v2/embed", /, **body) -> dict:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_vectors_come_in_every_type_that_was_asked_for(bi, embedder):
    types = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    answer = embed(bi, texts=TEXTS, embedding_types=types, input_type=None)

    found = {name: torch.tensor(answer["embeddings"][name], dtype=torch.float64) for name in types[:-1]}
    vectors = torch.stack([vector(embedder, text) for text in TEXTS])
    assert answer["response_type"] == "embeddings_by_type" and answer["texts"] == TEXTS
    assert answer["meta"]["billed_units"]["input_tokens"] == 12 + 2 * len(TEXTS)
    assert torch.allclose(found["float"].float(), vectors, atol=2e-5)
    assert found["int8"].abs().amax(dim=1).tolist() == [127.0] * 4
    assert torch.allclose(F.cosine_similarity(found["int8"], vectors.double()), torch.ones(4).double(), atol=1e-3)
    assert torch.equal(found["uint8"], found["int8"] + 128)
    bits = [int("".join("1" if value > 0 else "0" for value in row[:8]), 2) for row in vectors.tolist()]
    assert found["ubinary"][:, 0].tolist() == bits and found["ubinary"].shape == (4, 8)
    assert torch.equal(found["binary"], found["ubinary"] - 128)
    assert answer["embeddings"]["base64"] == [entry["embedding"] for entry in bi.post("/v1/embeddings", json={
        "input": TEXTS, "encoding_format": "base64"}).json()["data"]]


def test_the_kind_of_text_chooses_the_models_prompt(bi, embedder):
    for kind, before in (("search_query", "w9 "), ("search_document", "w8 "), ("query", "w9 "), ("clustering", "")):
        answer = embed(bi, texts=TEXTS[:1], input_type=kind)
        assert torch.allclose(torch.tensor(answer["embeddings"]["float"][0]), vector(embedder, before + TEXTS[0]),
                              atol=2e-5)


def test_long_texts_are_cut_where_the_client_says(bi, embedder):
    long = " ".join(f"w{i}" for i in range(60))
    for options, kept in (({"max_tokens": 5}, "w0 w1 w2"), ({"max_tokens": 5, "truncate": "START"}, "w57 w58 w59")):
        answer = embed(bi, texts=[long], **options)
        assert torch.allclose(torch.tensor(answer["embeddings"]["float"][0]), vector(embedder, kept), atol=2e-5)
    assert error_of(bi.post("/v2/embed", json={"texts": ["w1 " * 200], "truncate": "NONE"})) == (400, "texts.0")


def test_the_older_route_gives_a_list_of_vectors_unless_types_are_named(bi):
    listed = embed(bi, "/v1/embed", texts=TEXTS)
    named = embed(bi, "/v1/embed", texts=TEXTS, embedding_types=["float"])

    assert listed["response_type"] == "embeddings_floats" and listed["embeddings"] == named["embeddings"]["float"]
    assert embed(bi, inputs=[{"content": [{"type": "text", "text": TEXTS[0]}]}])["embeddings"]["float"] == (
        listed["embeddings"][:1])


@pytest.mark.parametrize(("body", "param"), [
    ({}, "texts"), ({"texts": []}, "texts"), ({"texts": "a"}, "texts"), ({"texts": ["a", ""]}, "texts.1"),
    ({"texts": ["a", 5]}, "texts.1"), ({"texts": ["a"], "inputs": []}, "texts"),
    ({"texts": ["a"], "embedding_types": ["float", "f4"]}, "embedding_types.1"),
    ({"texts": ["a"], "input_type": "image"}, "input_type"), ({"texts": ["a"], "truncate": "MIDDLE"}, "truncate"),
    ({"texts": ["a"], "max_tokens": MAX_LEN + 1}, "max_tokens"), ({"texts": ["a"], "max_tokens": -2}, "max_tokens"),
    ({"texts": ["a"], "max_tokens": 0}, "max_tokens"),
    ({"texts": ["a"], "max_tokens": 3, "truncate": "NONE"}, "max_tokens")])
def test_what_is_wrong_with_a_body_of_coheres_is_named(bi, body, param):
    assert error_of(bi.post("/v2/embed", json=body)) == (400, param)


def test_a_benchmark_measures_a_ranking(cross, tmp_path, kept_logging):
    file = tmp_path / "out.json"
    command = ["bench", "serve", "--base-url", str(cross.base_url), "--num-prompts", "4", "--num-warmups", "1",
               "--input-len", "12", "--batch-size", "3", "--output-json", str(file)]
    for choice in (["--backend", "vllm-rerank"], ["--endpoint", "/rerank"]):
        assert main([*command, *choice]) == 0
        totals = json.loads(file.read_text())["totals"]
        assert (totals["requests answered"], totals["texts"]) == (4, 12)

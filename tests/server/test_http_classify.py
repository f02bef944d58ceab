"""/classify and /pooling of a classifier: the numbers of Transformers, and the names of its labels."""

from __future__ import annotations

import httpx
import pytest
import torch
from http_server import running_server
from tiny_poolers import logits_of, write_model
from toy_engine import save_tokenizer

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.server.options import ServerOptions

LABELS = {0: "calm", 1: "glad", 2: "sad"}
TEXTS = ["a fine story", "dull", "so it goes"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """(directory, the classifier)."""
    path = tmp_path_factory.mktemp("classifier")
    model = write_model(path, "BertForSequenceClassification", num_labels=3, id2label=LABELS,
                        problem_type="single_label_classification")
    save_tokenizer(path)
    return path, model


@pytest.fixture(scope="module")
def client(model):
    engine = AsyncLLM.from_engine_args(EngineArgs(model=str(model[0]), num_threads=1, dtype="float32",
                                                  use_tqdm_on_load=False))
    with running_server(engine, ServerOptions()) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client
    engine.shutdown()


def test_each_text_gets_its_label_and_the_probabilities_of_all(client, model):
    answer = client.post("/classify", json={"input": TEXTS}).json()

    wanted = torch.stack([logits_of(model[1], list(text.encode())) for text in TEXTS])
    assert answer["id"].startswith("classify-") and answer["object"] == "list"
    assert torch.allclose(torch.tensor([entry["probs"] for entry in answer["data"]]), wanted.softmax(-1), atol=2e-5)
    assert [(entry["index"], entry["label"], entry["num_classes"]) for entry in answer["data"]] == [
        (i, LABELS[int(row.argmax())], 3) for i, row in enumerate(wanted)]
    assert answer["usage"]["prompt_tokens"] == sum(map(len, TEXTS))


@pytest.mark.parametrize("name", ["use_activation", "softmax", "activation"])
def test_logits_are_given_when_asked_for_by_any_name(client, model, name):
    answer = client.post("/classify", json={"input": "dull", name: False}).json()

    assert torch.allclose(torch.tensor(answer["data"][0]["probs"]), logits_of(model[1], list(b"dull")), atol=2e-5)


def test_pooling_gives_the_same_numbers(client):
    probs = client.post("/classify", json={"input": "dull"}).json()["data"][0]["probs"]

    assert client.post("/pooling", json={"input": "dull", "task": "classify"}).json()["data"][0]["data"] == probs


def test_a_classifier_makes_no_embeddings_and_says_so(client):
    answer = client.post("/v1/embeddings", json={"input": "a"})

    assert answer.status_code == 400 and "send /classify" in answer.json()["error"]["message"]

"""`weft rerank`: lines, best first, with the scores of an embedder or a cross-encoder."""

from __future__ import annotations

import io
import json

import pytest
import torch
from tiny_encoders import MAX_LEN
from tiny_poolers import write_model
from word_tokenizer import save_word_tokenizer

ENGINE = ("--no-use-tqdm-on-load", "--dtype", "float32", "--num-threads", "1")
QUERY, TEXTS = "w1 w2 w3", ["w4 w5", "w1 w2 w6 w7 w8 w9", "w3"]


@pytest.fixture(scope="module")
def cross(tmp_path_factory):
    """(path of a cross-encoder, [(text, score)] of TEXTS, best first)."""
    path = tmp_path_factory.mktemp("cross")
    model = write_model(path, "BertForSequenceClassification", num_labels=1, max_position_embeddings=MAX_LEN)
    tokenizer = save_word_tokenizer(path)
    with torch.inference_mode():
        scores = [float(model(**tokenizer(QUERY, text, return_tensors="pt")).logits.sigmoid()) for text in TEXTS]
    return path, sorted(zip(TEXTS, scores, strict=True), key=lambda item: -item[1])


def test_lines_are_ranked_with_their_scores(weft, cross, tmp_path):
    path, wanted = cross
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))

    ran = weft("rerank", path, QUERY, tmp_path / "in.txt", *ENGINE)

    assert ran.status == 0
    assert ran.out.splitlines() == [f"{score:8.4f}  {text}" for text, score in wanted]


def test_the_best_of_standard_input_as_json(weft, cross, monkeypatch):
    path, wanted = cross
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(json.dumps({"id": f"d{i}", "text": text})
                                                           for i, text in enumerate(TEXTS))))

    ran = weft("rerank", "--model", path, QUERY, "--json", "--top-n", 2, "--input-format", "json", *ENGINE)

    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [(entry["index"], entry["id"], entry["text"]) for entry in found] == [
        (TEXTS.index(text), f"d{TEXTS.index(text)}", text) for text, _ in wanted[:2]]
    assert [entry["score"] for entry in found] == pytest.approx([score for _, score in wanted[:2]], abs=1e-5)


def test_the_best_of_several_windows(weft, cross, tmp_path, monkeypatch):
    path, wanted = cross
    monkeypatch.setattr("weft.cli.rerank.TEXTS_AT_ONCE", 1)
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))

    ran = weft("rerank", path, QUERY, tmp_path / "in.txt", "--top-n", 2, *ENGINE)

    assert ran.out.splitlines() == [f"{score:8.4f}  {text}" for text, score in wanted[:2]]


def test_a_line_that_is_wrong_is_told_and_the_others_are_ranked(weft, cross, tmp_path):
    (tmp_path / "in.jsonl").write_text('"w4 w5"\n5\n"' + "w1 " * 200 + '"\n"w3"')

    cut, strict = (weft("rerank", cross[0], QUERY, tmp_path / "in.jsonl", *options, *ENGINE) for options in (
        (), ("--truncate-prompt-tokens", "128", "--max-model-len", "100")))

    assert (cut.status, len(cut.out.splitlines())) == (1, 3) and "text 1: line 2: expected a text" in cut.err
    assert strict.status == 1 and "truncate_prompt_tokens" in strict.err


@pytest.mark.parametrize(("arguments", "message"), [
    (("model",), "QUERY = None"), (("model", ""), "QUERY = ''"),
    (("model", "a", "missing.txt"), "FILE = 'missing.txt'"),
    (("model", "a", "b", "c"), "no more than MODEL QUERY FILE"), (("model", "a", "--top-n", "0"), "--top-n = 0")])
def test_what_cannot_work_is_told_before_the_model_is_loaded(weft, arguments, message):
    ran = weft("rerank", *arguments)

    assert ran.status == 1 and message in ran.err


def test_a_model_that_generates_is_refused_once(weft, checkpoint, tmp_path):
    (tmp_path / "in.txt").write_text("a\nb\n")

    ran = weft("rerank", checkpoint, "a", tmp_path / "in.txt", *ENGINE)

    assert (ran.status, ran.out) == (1, "")
    assert "a model that embeds, or a classifier with one label" in ran.err

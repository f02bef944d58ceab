"""`weft embed`: a vector for each line, in order, from a file or standard input, as JSON lines or an array."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_encoders import token_states, write_encoder
from toy_engine import save_tokenizer

ENGINE = ("--no-use-tqdm-on-load", "--dtype", "float32", "--num-threads", "1")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, torch.nn.Module]:
    """An encoder whose tokenizer gives bytes."""
    path = tmp_path_factory.mktemp("bert")
    model = write_encoder(path)
    save_tokenizer(path)
    return path, model


def entries(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def vector(model, text: str) -> torch.Tensor:
    return F.normalize(token_states(model, list(text.encode()))[0], dim=-1)


@pytest.fixture
def texts(tmp_path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("a text\n\nanother\r\n")
    return path


def test_lines_of_a_file_become_vectors_in_order(weft, tiny, texts):
    path, model = tiny

    ran = weft("embed", path, texts, *ENGINE)

    found = entries(ran.out)
    assert ran.status == 0
    assert [(entry["index"], entry["num_tokens"]) for entry in found] == [(0, 6), (1, 7)]
    for entry, text in zip(found, ["a text", "another"], strict=True):
        assert torch.allclose(torch.tensor(entry["embedding"]), vector(model, text), atol=2e-5)


def test_the_file_may_come_behind_options_and_the_model_as_one(weft, tiny, texts, tmp_path):
    path, model = tiny
    output = tmp_path / "out.jsonl"

    ran = weft("embed", "--model", path, *ENGINE, "-o", output, texts, "--no-normalize")

    first, second = entries(output.read_text())
    assert (ran.status, ran.out) == (0, f"2 texts, 0 failed: {output}\n")
    assert torch.allclose(torch.tensor(first["embedding"]), token_states(model, list(b"a text"))[0], atol=2e-5)
    assert second["num_tokens"] == 7


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_lines_of_standard_input_become_token_states(weft, tiny, monkeypatch, arguments):
    path, model = tiny
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n"))

    ran = weft("embed", path, *arguments, "--token-states", *ENGINE)

    [entry] = entries(ran.out)
    assert torch.allclose(torch.tensor(entry["token_states"]), token_states(model, list(b"one")), atol=2e-5)


def test_json_lines_are_texts_or_objects_and_keep_their_ids(weft, tiny, tmp_path):
    source = tmp_path / "in.jsonl"
    lines = ['"one"', '{"body": "two", "id": 7}', "{broken", '{"text": "three"}', '{"body": ""}', '{"body": "two"}']
    source.write_text("\n".join(lines))

    ran = weft("embed", tiny[0], source, "--field", "body", *ENGINE)

    found = entries(ran.out)
    assert ran.status == 1
    assert [(entry["index"], entry.get("id"), "embedding" in entry) for entry in found] == [
        (0, None, True), (1, 7, True), (2, None, False), (3, None, False), (4, None, False), (5, None, True)]
    assert "line 3 is no JSON" in found[2]["error"] and "line 4: expected a text" in found[3]["error"]
    assert found[1]["embedding"] == pytest.approx(found[5]["embedding"], abs=1e-6)


def test_an_array_has_a_row_for_each_text_and_nan_where_one_failed(weft, tiny, tmp_path):
    path, model = tiny
    source, output = tmp_path / "in.txt", tmp_path / "out.npy"
    source.write_text("long" * 50 + "\n" + "".join(f"text {i}\n" for i in range(1500)))      # more than a window

    ran = weft("embed", path, source, "-o", output, *ENGINE)

    found = np.load(output)
    assert (ran.status, found.shape, found.dtype) == (1, (1501, 64), np.float32)
    assert np.isnan(found[0]).all() and not np.isnan(found[1:]).any()
    assert np.allclose(found[1500], vector(model, "text 1499"), atol=2e-5)
    assert "text 0: prompt = 200: expected up to max_model_len = 128 tokens" in ran.err


def test_a_text_that_is_wrong_gets_an_error_and_the_others_their_vectors(weft, tiny, tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("short\n" + "long" * 50 + "\nlast\n")

    ran, cut = (weft("embed", tiny[0], source, *options, *ENGINE) for options in (
        (), ("--truncate-prompt-tokens", "-1")))

    found = entries(ran.out)
    assert ran.status == 1
    assert ["embedding" in entry for entry in found] == [True, False, True]
    assert "prompt = 200: expected up to max_model_len = 128 tokens" in found[1]["error"]
    assert (cut.status, entries(cut.out)[1]["num_tokens"]) == (0, 128)


def test_a_model_that_generates_is_refused_once(weft, checkpoint, texts):
    ran = weft("embed", checkpoint, texts, *ENGINE)

    assert (ran.status, ran.out) == (1, "")
    assert "one of the model's tasks: generate" in ran.err


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "MODEL = None: expected a checkpoint"),
    (("model", "missing.txt"), "FILE = 'missing.txt': expected a UTF-8 text file"),
    (("model", "a.txt", "b.txt"), "expected no more than MODEL FILE"),
    (("model", "-", "-o", "/nowhere/out"), "--output-file = '/nowhere/out': expected a file that can be written"),
    (("model", "-", "-o", "out.npy", "--token-states"), "expected JSON lines with --token-states"),
])
def test_what_cannot_work_is_told_before_the_model_is_loaded(weft, arguments, message):
    ran = weft("embed", *arguments)

    assert ran.status == 1 and message in ran.err


def test_a_file_that_is_no_text_is_named(weft, tiny, tmp_path):
    source = tmp_path / "in.txt"
    source.write_bytes(b"\xff\xfe\xfd\n")

    ran = weft("embed", tiny[0], source, *ENGINE)

    assert ran.status == 1 and "expected a UTF-8 text file" in ran.err and "invalid start byte" in ran.err


def test_an_earlier_output_stays_where_the_command_line_or_the_checkpoint_is_wrong(weft, tiny, texts, tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_text("earlier\n")

    assert weft("embed", tiny[0], texts, "-o", output, "--dtype", "float7").status != 0
    assert weft("embed", tmp_path / "nowhere", texts, "-o", output).status == 1

    assert output.read_text() == "earlier\n"

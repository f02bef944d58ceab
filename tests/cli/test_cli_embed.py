"""`weft embed`: a JSON line for each text, in order, from arguments, a file or standard input."""

from __future__ import annotations

import io
import json
from pathlib import Path

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


def test_texts_on_the_command_line_become_vectors_in_order(weft, tiny):
    path, model = tiny

    ran = weft("embed", "a text", "another", "--model", path, *ENGINE)

    found = entries(ran.out)
    assert ran.status == 0
    assert [(entry["index"], entry["num_tokens"]) for entry in found] == [(0, 6), (1, 7)]
    for entry, text in zip(found, ["a text", "another"], strict=True):
        assert torch.allclose(torch.tensor(entry["embedding"]), vector(model, text), atol=2e-5)


def test_lines_of_a_file_go_to_a_file(weft, tiny, tmp_path):
    path, model = tiny
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("one\n\ntwo\r\n")

    ran = weft("embed", "-i", source, "-o", output, "--no-normalize", "--model", path, *ENGINE)

    first, second = entries(output.read_text())
    assert (ran.status, ran.out) == (0, f"2 texts, 0 failed: {output}\n")
    assert torch.allclose(torch.tensor(first["embedding"]), token_states(model, list(b"one"))[0], atol=2e-5)
    assert second["num_tokens"] == 3


def test_lines_of_standard_input_become_token_states(weft, tiny, monkeypatch):
    path, model = tiny
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n"))

    ran = weft("embed", "--token-states", "--model", path, *ENGINE)

    [entry] = entries(ran.out)
    assert torch.allclose(torch.tensor(entry["token_states"]), token_states(model, list(b"one")), atol=2e-5)


def test_a_text_that_is_wrong_gets_an_error_and_the_others_their_vectors(weft, tiny):
    ran = weft("embed", "short", "long" * 50, "last", "--model", tiny[0], *ENGINE)

    found = entries(ran.out)
    assert ran.status == 1
    assert ["embedding" in entry for entry in found] == [True, False, True]
    assert "prompt = 200: expected up to max_model_len = 128 tokens" in found[1]["error"]


def test_a_model_that_generates_is_refused_once(weft, checkpoint):
    ran = weft("embed", "a", "b", "--model", checkpoint, *ENGINE)

    assert (ran.status, ran.out) == (1, "")
    assert "one of the model's tasks: generate" in ran.err


@pytest.mark.parametrize(("arguments", "message"), [
    (("-i", "missing.txt"), "--input-file = 'missing.txt': expected a text file"),
    (("text", "-i", "missing.txt"), "no file beside texts"),
    (("text", "-o", "/nowhere/out"), "--output-file = '/nowhere/out': expected a file that can be written"),
])
def test_files_that_cannot_be_used_are_named_before_the_model_is_loaded(weft, tiny, arguments, message):
    ran = weft("embed", *arguments, "--model", tiny[0], *ENGINE)

    assert ran.status == 1 and message in ran.err


def test_an_earlier_output_stays_where_the_command_line_or_the_checkpoint_is_wrong(weft, tiny, tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_text("earlier\n")

    assert weft("embed", "text", "-o", output, "--model", tiny[0], "--dtype", "float7").status != 0
    assert weft("embed", "text", "-o", output, "--model", tmp_path / "nowhere").status == 1

    assert output.read_text() == "earlier\n"

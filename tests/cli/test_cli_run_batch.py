"""`weft run-batch`: answers in order, an entry for each bad line."""

from __future__ import annotations

import json

import pytest
from tiny_encoders import write_encoder
from toy_engine import save_tokenizer

from weft.cli.batch_file import read_lines


def request(custom_id: str, url: str = "/v1/completions", **body: object) -> str:
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def test_each_line_is_answered_or_refused_on_its_own_and_in_order(weft, tmp_path, checkpoint):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join([
        request("long", prompt="abc", max_tokens=20, ignore_eos=True),
        "{broken",
        request("chat", "/v1/chat/completions", messages=[{"role": "user", "content": "hi"}], max_tokens=2),
        request("bad value", prompt="abc", max_tokens=-1),
        "",
        request("short", prompt=[1, 2, 3], max_tokens=1, ignore_eos=True),
        request("response", "/v1/responses", input="hi", max_output_tokens=2, ignore_eos=True),
        request("message", "/v1/messages", messages=[{"role": "user", "content": "hi"}], max_tokens=2, ignore_eos=True),
        request("conversations", "/v1/chat/completions/batch", max_tokens=2, ignore_eos=True,
                messages=[[{"role": "user", "content": "hi"}], [{"role": "user", "content": "ho"}]]),
    ]))

    ran = weft("run-batch", "-i", source, "-o", output, "--model", checkpoint, "--no-use-tqdm-on-load")

    entries = [json.loads(line) for line in output.read_text().splitlines()]
    assert [entry["custom_id"] for entry in entries] == [
        "long", None, "chat", "bad value", "short", "response", "message", "conversations"]
    assert entries[0]["response"]["status_code"] == 200
    assert entries[0]["response"]["body"]["usage"]["completion_tokens"] == 20
    assert entries[1]["response"] is None and "line 2 is no JSON" in entries[1]["error"]["message"]
    assert entries[2]["response"]["body"]["choices"][0]["message"]["role"] == "assistant"
    assert entries[3]["response"]["status_code"] == 400
    assert entries[3]["response"]["body"]["error"]["param"] == "max_tokens"
    assert entries[4]["response"]["body"]["usage"] == {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4,
                                                       "prompt_tokens_details": {"cached_tokens": 0}}
    assert entries[5]["response"]["body"]["status"] == "incomplete"
    assert entries[6]["response"]["body"]["stop_reason"] == "max_tokens"
    assert [choice["index"] for choice in entries[7]["response"]["body"]["choices"]] == [0, 1]
    assert ran.status == 1 and ran.out.startswith("8 requests, 2 failed")


@pytest.mark.parametrize(("line", "message"), [
    ("[1]", "expected an object, got list"),
    ('{"method": "POST", "url": "/v1/completions", "body": {}}', "custom_id = None"),
    ('{"custom_id": "a", "method": "GET", "url": "/v1/completions", "body": {}}', "method = 'GET': expected POST"),
    ('{"custom_id": "a", "method": "POST", "url": "/v1/files", "body": {}}', "url = '/v1/files'"),
    ('{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": 5}', "body: expected an object, got int"),
    ('{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"stream": true}}', "not streamed"),
    ('{"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"background": true}}', "waits"),
    ('{"custom_id": "a", "method": "POST", "url": "/pooling", "body": {"encoding_format": "bytes"}}', "or base64"),
])
def test_what_is_wrong_with_a_line_is_told_with_its_number(tmp_path, line, message):
    path = tmp_path / "in.jsonl"
    path.write_text("\n" + line)

    (read,) = read_lines(path)

    assert read.error.startswith("line 2") and message in read.error


def test_an_id_that_comes_twice_is_refused_the_second_time(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(request("a") + "\n" + request("a"))

    first, second = read_lines(path)

    assert first.error is None
    assert second.error == "line 2: custom_id 'a' is used twice"


def test_a_file_as_windows_programs_save_it_loses_no_request(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{request('a')}\r\n{request('b')}\r\n".encode())

    assert [(line.custom_id, line.error) for line in read_lines(path)] == [("a", None), ("b", None)]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_only_a_newline_ends_a_line(tmp_path, separator):
    path = tmp_path / "in.jsonl"
    path.write_text(request("a", prompt="x y").replace("x y", f"x{separator}y"), encoding="utf-8")

    (read,) = read_lines(path)

    assert (read.error, read.body) == (None, {"prompt": f"x{separator}y"})


def test_texts_become_vectors_and_are_ranked(weft, tmp_path):
    write_encoder(tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join([
        request("vectors", "/v1/embeddings", input=["ab", "c"]), request("cohere", "/v2/embed", texts=["ab"]),
        request("ranked", "/v1/rerank", query="ab", documents=["c", "ab"]),
        request("scored", "/score", data_1="ab", data_2=["ab"]), request("chat", "/v1/completions", prompt="a")]))

    ran = weft("run-batch", "-i", source, "-o", output, "--model", tmp_path / "model", "--dtype", "float32",
               "--num-threads", "1", "--no-use-tqdm-on-load")

    entries = map(json.loads, output.read_text().splitlines())
    bodies = {entry["custom_id"]: entry["response"]["body"] for entry in entries}
    vector = bodies["vectors"]["data"][0]["embedding"]
    assert ran.status == 1 and ran.out.startswith("5 requests, 1 failed")
    assert bodies["cohere"]["embeddings"]["float"] == [pytest.approx(vector, abs=1e-5)]
    assert [entry["index"] for entry in bodies["ranked"]["results"]] == [1, 0]
    assert bodies["scored"]["data"][0]["score"] == pytest.approx(1)
    assert "send /v1/embeddings" in bodies["chat"]["error"]["message"]

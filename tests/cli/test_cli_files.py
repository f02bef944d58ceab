"""Files that options name: a place that cannot be written is told before the work, whichever command writes there."""

from __future__ import annotations

import pytest

from weft.cli.files import check_output, read_text
from weft.errors import ConfigError


@pytest.mark.parametrize("command", [
    ("run-batch", "-i", "{in}", "--model", "m", "--output-file"), ("embed", "text", "--model", "m", "--output-file"),
    ("bench", "latency", "--model", "m", "--output-json"), ("bench", "throughput", "--model", "m", "--output-json"),
    ("bench", "serve", "--output-json"), ("describe", "LlamaForCausalLM", "--output"),
], ids=lambda command: " ".join(command[:2]))
@pytest.mark.parametrize(("place", "fault"), [
    ("", "It is a directory."), ("missing/out", "missing is no directory that exists."),
    ("in.jsonl/out", "in.jsonl is no directory that exists."),
])
def test_a_place_for_results_is_checked_before_the_model_is_looked_for(weft, tmp_path, command, place, fault):
    (tmp_path / "in.jsonl").write_text("{}\n")
    path = tmp_path / place

    ran = weft(*(part.replace("{in}", str(tmp_path / "in.jsonl")) for part in command), path)

    assert ran.status == 1
    assert f"{command[-1]} = '{path}': expected a file that can be written." in ran.err and fault in ran.err


def test_a_file_without_permission_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path / "out")      # root may write everywhere
    (tmp_path / "out").touch()

    check_output("--output-file", tmp_path / "other")
    with pytest.raises(ConfigError, match=r"Permission denied\."):
        check_output("--output-file", tmp_path / "out")


def test_checking_makes_and_changes_no_file(tmp_path):
    (tmp_path / "old").write_text("old")

    for name in ("old", "new"):
        check_output("--output-file", tmp_path / name)

    assert (tmp_path / "old").read_text() == "old" and not (tmp_path / "new").exists()


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b"\xff\xfe", "can't decode byte 0xff")])
def test_a_text_that_cannot_be_read_says_why(tmp_path, content, said):
    if content is not None:
        (tmp_path / "in").write_bytes(content)

    with pytest.raises(ConfigError, match=r"--input-file = '.*in': expected lines\.") as caught:
        read_text("--input-file", tmp_path / "in", expected="lines")

    assert said in str(caught.value)

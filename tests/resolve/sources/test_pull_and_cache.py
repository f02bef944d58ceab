"""`weft pull`, `weft cache list` and `weft cache remove`, against a hub on this machine."""

from __future__ import annotations

import _thread
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_hub import TINY, WEIGHTS

from weft.cli.main import main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def weft(hub, monkeypatch, tmp_path, capsys, kept_logging):
    """Runs a command line: (status, what it printed, its errors)."""
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "scope"))
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))

    def run(*arguments: str, answer: str = "") -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        status = main(list(arguments))
        return status, *capsys.readouterr()

    return run


def test_pull_says_what_was_downloaded_and_where_it_is(hub, weft, cache):
    commit = hub.add("org/tiny", TINY)

    status, out, err = weft("pull", "org/tiny")

    assert status == 0
    assert "Fetching 2 files: 100%" in err and "Fetching 1 files: 100%" in err      # huggingface_hub's progress bars
    assert out.splitlines() == [
        f"org/tiny, hub, commit {commit}: 3 files, 10.00 KiB; 3 of them downloaded now, 10.00 KiB",
        str(cache / "models--org--tiny" / "snapshots" / commit)]
    assert "0 of them downloaded now" in weft("pull", "org/tiny")[1]


def test_pull_prints_json_with_the_origin_of_every_file(hub, weft):
    commit = hub.add("org/tiny", TINY)

    found = json.loads(weft("pull", "org/tiny", "--revision", "main", "--include", "*.safetensors", "--json")[1])

    assert (found["model"], found["source"], found["commit"], found["gguf"]) == ("org/tiny", "hub", commit, None)
    assert found["files"] == [{"name": "model.safetensors", "bytes": len(WEIGHTS),
                               "from": f"{hub.url}/org/tiny/resolve/{commit}/model.safetensors"}]


def test_pull_takes_one_gguf_by_its_quantization(hub, weft):
    hub.add("org/gguf", {"m-Q8_0.gguf": b"8", "m-Q4_0.gguf": b"4"})

    found = json.loads(weft("pull", "org/gguf:Q4_0", "--json")[1])

    assert found["gguf"].endswith("/m-Q4_0.gguf")
    assert hub.downloaded() == {"m-Q4_0.gguf"}


def test_pulling_a_directory_downloads_nothing(hub, weft, tmp_path):
    (tmp_path / "here").mkdir()

    assert f"is on this machine already: {tmp_path / 'here'}" in weft("pull", "./here")[1]
    assert hub.requests == []


def test_an_error_is_one_line_and_status_1(hub, weft):
    status, out, err = weft("pull", "org/none")

    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("weft: error: model = 'org/none'")


def test_the_environment_says_which_hub_and_which_cache(hub, tmp_path):
    hub.add("org/tiny", TINY, allowed=("secret",))
    home = tmp_path / "hf"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "WEFT_", "VLLM_"))}
    environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": "secret"}
    command = [sys.executable, "-m", "weft.cli.main", "pull", "org/tiny", "--json"]

    ways = {"capture_output": True, "text": True, "timeout": 60, "cwd": ROOT}
    online = subprocess.run(command, env=environ, **ways)
    offline = subprocess.run(command, env=environ | {"HF_HUB_OFFLINE": "1"}, **ways)

    assert (online.returncode, offline.returncode) == (0, 0), online.stderr + offline.stderr
    assert json.loads(online.stdout)["directory"] == json.loads(offline.stdout)["directory"]
    assert json.loads(online.stdout)["directory"].startswith(str(home / "hub"))


def test_an_interruption_ends_with_a_sentence_and_status_130(hub, weft):
    hub.add("org/tiny", TINY)
    hub.fail("GET", "/cdn/", call=_thread.interrupt_main)

    status, _, err = weft("pull", "org/tiny")

    assert status == 130
    assert "weft: download of org/tiny interrupted; finished files stay in" in err


def test_cache_list_shows_models_and_can_be_filtered(hub, weft):
    commit = hub.add("org/tiny", TINY)
    hub.add("org/other", TINY)
    assert weft("cache", "list")[1] == "No models are downloaded.\n"
    weft("pull", "org/tiny")
    weft("pull", "org/other")

    out = weft("cache", "list", "TINY")[1]

    assert out.startswith("1 revisions, 10.00 KiB\nmodel")
    assert out.splitlines()[-1].split()[:4] == ["org/tiny", commit[:12], "main", "10.00"]
    assert [entry["model"] for entry in json.loads(weft("cache", "list", "--json")[1])] == ["org/other", "org/tiny"]


@pytest.mark.parametrize("answer", ["", "n\n", "what\n"])
def test_cache_remove_asks_and_keeps_all_without_a_yes(hub, weft, answer):
    hub.add("org/tiny", TINY)
    weft("pull", "org/tiny")

    status, out, _ = weft("cache", "remove", "org/tiny", answer=answer)

    assert status == 1
    assert "Delete these? [y/N]" in out and "Nothing was deleted." in out
    assert "org/tiny" in weft("cache", "list")[1]


@pytest.mark.parametrize(("options", "answer"), [([], "y\n"), (["--yes"], "")])
def test_cache_remove_deletes_after_a_yes(hub, weft, options, answer):
    hub.add("org/tiny", TINY)
    weft("pull", "org/tiny")

    status, out, _ = weft("cache", "remove", "org/tiny", *options, answer=answer)

    assert (status, out.splitlines()[-1].endswith("Deleted; 10.00 KiB are free again.")) == (0, True)
    assert weft("cache", "list")[1] == "No models are downloaded.\n"


def test_cache_remove_takes_one_revision_by_the_beginning_of_its_commit(hub, weft):
    old = hub.add("org/tiny", TINY)
    weft("pull", "org/tiny")
    new = hub.commit("org/tiny", {"config.json": b'{"a": 1}'})
    weft("pull", "org/tiny")

    removed = json.loads(weft("cache", "remove", "org/tiny", "--revision", old[:7], "--yes", "--json")[1])

    assert [entry["revision"] for entry in removed["removed"]] == [old]
    assert [entry["revision"] for entry in json.loads(weft("cache", "list", "--json")[1])] == [new]


@pytest.mark.parametrize(("arguments", "said"), [
    (["org/tinny", "--yes"], "Did you mean org/tiny?"), (["else", "--yes"], "`weft cache list` shows them."),
    (["org/tiny", "--revision", "v9", "--yes"], "There are: "), (["org/tiny", "--json"], "expected --yes with it"),
])
def test_cache_remove_says_what_there_is_when_it_finds_nothing(hub, weft, arguments, said):
    hub.add("org/tiny", TINY)
    weft("pull", "org/tiny")

    status, _, err = weft("cache", "remove", *arguments)

    assert status == 1
    assert said in err

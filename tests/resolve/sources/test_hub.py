"""The Hugging Face hub, through huggingface_hub: what is fetched, from which commit, and what a bad day looks like."""

from __future__ import annotations

import _thread
import json
import logging

import pytest
from huggingface_hub import constants

from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.resolve.files import find_model, find_tokenizer
from weft.resolve.sources.find import find
from weft.resolve.sources.repository import Access
from weft.resolve.sources.wanted import ADAPTER, TOKENIZER, Wanted

WEIGHTS = bytes(range(256)) * 40
TINY = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": WEIGHTS}
INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors",
                                   "b": "model-00002-of-00002.safetensors"}}).encode()
SHARDED = {"config.json": b"{}", "model.safetensors.index.json": INDEX,
           "model-00001-of-00002.safetensors": b"one", "model-00002-of-00002.safetensors": b"two",
           "model-00009-of-00009.safetensors": b"left behind"}


def files_in(directory) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def refused(name: str, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        find(name, **options)
    return str(caught.value)


def test_a_model_is_fetched_with_its_commit_and_the_url_of_every_file(hub, access, cache):
    commit = hub.add("org/tiny", TINY)

    found = find("org/tiny", access=access)

    assert (found.source, found.commit) == ("hub", commit)
    assert found.directory == cache / "models--org--tiny" / "snapshots" / commit
    assert (found.directory / "model.safetensors").read_bytes() == WEIGHTS
    assert found.origins == {name: f"{hub.url}/org/tiny/resolve/{commit}/{name}" for name in TINY}


def test_what_is_in_the_cache_is_not_fetched_again(hub, access):
    hub.add("org/tiny", TINY)
    find("org/tiny", access=access)
    hub.requests.clear()

    found = find("org/tiny", access=access)

    assert set(found.origins.values()) == {"cache"}
    assert hub.downloaded() == set()


def test_only_needed_files_are_fetched(hub, access):
    hub.add("org/big", TINY | {
        "pytorch_model.bin": b"x", "original/consolidated.pth": b"x", "onnx/model.onnx": b"x", "README.md": b"x",
        "onnx/config.json": b"x", "consolidated.safetensors": b"x", "adapter_model.safetensors": b"x", "code.py": b"x",
        "training_args.bin": b"x", "chat_template.jinja": b"x", "1_Pooling/config.json": b"{}"})

    found = find("org/big", access=access)

    assert files_in(found.directory) == {*TINY, "chat_template.jinja", "1_Pooling/config.json"}


def test_the_index_says_which_shards_are_fetched(hub, access):
    hub.add("org/sharded", SHARDED)

    found = find("org/sharded", access=access)

    assert files_in(found.directory) == {*SHARDED} - {"model-00009-of-00009.safetensors"}


def test_an_index_that_names_a_file_the_repository_lacks_is_an_error_before_any_weight_is_fetched(hub, access):
    hub.add("org/cut", {name: content for name, content in SHARDED.items() if "00002-of" not in name})

    said = refused("org/cut", access=access)

    assert "has no model-00002-of-00002.safetensors" in said and "model.safetensors.index.json names them" in said
    assert not any(name.endswith(".safetensors") for name in hub.downloaded())


def test_python_files_come_with_trust_only(hub, access):
    hub.add("org/code", TINY | {"modeling.py": b""})

    assert "modeling.py" not in find("org/code", access=access).origins
    assert "modeling.py" in find("org/code", access=access, want=Wanted(has_code=True)).origins


def test_a_tokenizer_comes_without_weights_and_an_adapter_with_its_own(hub, access):
    adapter = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"a", "adapter_model.bin": b"b"}
    hub.add("org/tiny", TINY)
    hub.add("org/lora", adapter | {"model.safetensors": b"merged"})

    assert set(find("org/tiny", access=access, want=TOKENIZER).origins) == {"config.json", "tokenizer.json"}
    assert set(find("org/lora", access=access, want=ADAPTER).origins) == {
        "adapter_config.json", "adapter_model.safetensors"}


def test_a_gguf_is_fetched_by_its_quantization_with_all_its_parts(hub, access):
    hub.add("org/gguf", {"config.json": b"{}", "m-Q8_0.gguf": b"8", "m-Q4_K_M-00001-of-00002.gguf": b"4",
                         "m-Q4_K_M-00002-of-00002.gguf": b"4"})

    found = find("org/gguf:Q4_K_M", access=access)

    assert found.gguf == found.directory / "m-Q4_K_M-00001-of-00002.gguf"
    assert files_in(found.directory) == {"config.json", "m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf"}
    assert find("org/gguf/m-Q8_0.gguf", access=access).gguf == found.directory / "m-Q8_0.gguf"


def test_a_repository_of_several_ggufs_wants_one_named(hub, access):
    hub.add("org/gguf", {"m-Q8_0.gguf": b"8", "m-Q4_K_M.gguf": b"4"})

    assert "There are: m-Q4_K_M.gguf, m-Q8_0.gguf" in refused("org/gguf", access=access)
    assert "a .gguf file of Q2_K" in refused("org/gguf:Q2_K", access=access)


def test_a_revision_is_pinned_once_and_all_files_are_of_that_commit(hub, access):
    old = hub.add("org/moving", SHARDED)
    hub.fail("GET", "model.safetensors.index.json",
             call=lambda: hub.commit("org/moving", {"model-00001-of-00002.safetensors": b"NEW"}))

    found = find("org/moving", access=access)

    assert found.commit == old != hub.repos["org/moving"].refs["main"]
    assert (found.directory / "model-00001-of-00002.safetensors").read_bytes() == b"one"


def test_a_branch_a_tag_and_a_commit_are_revisions(hub, access):
    old = hub.add("org/tiny", TINY)
    new = hub.commit("org/tiny", {"config.json": b'{"new": 1}'})
    hub.repos["org/tiny"].refs["v1"] = old

    assert [find("org/tiny", revision=name, access=access).commit for name in (None, "v1", old)] == [new, old, old]


def test_the_tokenizer_of_the_models_name_is_of_the_models_commit_unless_its_own_is_named(hub, waits):
    old = hub.add("org/tiny", TINY)
    args = EngineArgs(model="org/tiny", tokenizer="org/tiny")
    model = find_model(args)
    new = hub.commit("org/tiny", {"tokenizer.json": b"[]"})

    assert (model.source, model.directory.name) == (f"hub, commit {old}", old)
    assert find_tokenizer(args, model) == model.directory
    assert find_tokenizer(EngineArgs(model="org/tiny", tokenizer_revision="main"), model).name == new


def test_a_model_is_found_by_the_options_of_an_engine(hub, waits, tmp_path):
    hub.add("org/gguf", {"m-Q8_0.gguf": b"8", "m-Q4_0.gguf": b"4"}, allowed=("secret",))

    model = find_model(EngineArgs(model="org/gguf:Q4_0", hf_token="secret", download_dir=str(tmp_path / "mine")))

    assert model.gguf == model.directory / "m-Q4_0.gguf"
    assert model.directory.is_relative_to(tmp_path / "mine")


def test_another_folder_is_used_when_one_is_named(hub, access, tmp_path, cache):
    hub.add("org/tiny", TINY)

    found = find("org/tiny", access=Access(download_dir=str(tmp_path / "mine")))

    assert found.directory.is_relative_to(tmp_path / "mine") and not cache.exists()


# A bad day

def test_a_busy_server_is_asked_again_with_growing_waits(hub, access, waits):
    hub.add("org/tiny", TINY)
    hub.fail("GET", "/api/models/org/tiny", status=503, times=2)

    find("org/tiny", access=access)

    assert waits == [1, 2]


def test_a_server_that_says_when_to_come_back_is_taken_at_its_word(hub, access, waits):
    hub.add("org/tiny", TINY)
    hub.fail("GET", "/api/models/org/tiny", status=429, headers={"Retry-After": "7"})

    find("org/tiny", access=access)

    assert waits == [7]


def test_a_server_that_asks_for_too_much_patience_is_an_error(hub, access, waits):
    hub.add("org/tiny", TINY)
    hub.fail("GET", "/api/models/org/tiny", status=429, headers={"Retry-After": "86400"})

    assert "429" in refused("org/tiny", access=access)
    assert waits == []


def test_a_download_that_is_refused_for_now_is_tried_again(hub, access):
    hub.add("org/tiny", TINY)
    hub.fail("GET", "/cdn/", status=502)
    hub.fail("GET", "/resolve/", status=429, headers={"Retry-After": "1"})

    assert (find("org/tiny", access=access).directory / "model.safetensors").read_bytes() == WEIGHTS


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(hub, access, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)      # written piece by piece; a broken piece is lost
    hub.add("org/tiny", TINY)
    hub.fail("GET", "/cdn/", break_after=1000)

    found = find("org/tiny", access=access)

    assert (found.directory / "model.safetensors").read_bytes() == WEIGHTS
    assert [request[2] for request in hub.asked("GET", "/cdn/")] == [None, "bytes=1000-"]


def test_a_server_that_stays_down_is_an_error_with_its_words(hub, access):
    hub.add("org/tiny", TINY)
    hub.fail("GET", "/api/models/org/tiny", status=500, times=3)

    said = refused("org/tiny", access=access)

    assert "could not be reached" in said and "500" in said and "has no files of org/tiny" in said


def test_what_was_fetched_before_an_error_is_not_fetched_again(hub, access):
    hub.add("org/tiny", TINY)
    hub.fail("GET", "/cdn/", status=404)
    refused("org/tiny", access=access)
    hub.requests.clear()

    find("org/tiny", access=access)

    assert hub.downloaded() == {"model.safetensors"}


# Not there, not allowed

def test_a_name_that_the_hub_does_not_know_may_have_been_a_path(hub, access, tmp_path):
    (tmp_path / "my-model").mkdir()

    said = refused("my-modle", access=access)

    assert said.startswith("model = 'my-modle': expected a local directory or a model on the hub")
    assert f"{hub.url}/my-modle does not exist, or is private" in said
    assert "Did you mean the local path 'my-model'?" in said


def test_a_gated_model_says_how_to_get_access_and_where_tokens_are_looked_for(hub, access, tmp_path):
    hub.add("org/gated", TINY, allowed=("good",), is_gated=True)

    said = refused("org/gated", access=access)

    assert f"{hub.url}/org/gated is gated: ask for access on its page" in said
    assert "No token was sent; it is looked for in the option hf_token, HF_TOKEN, the file" in said
    assert str(tmp_path / "token") in said


def test_a_token_without_access_is_named_by_its_place(hub, access, tmp_path, monkeypatch):
    hub.add("org/gated", TINY, allowed=("good",), is_gated=True)

    (tmp_path / "token").write_text("of the file")
    assert f"The token of {tmp_path / 'token'} was sent" in refused("org/gated", access=access)
    monkeypatch.setenv("HF_TOKEN", "of the environment")
    assert "The token of HF_TOKEN was sent" in refused("org/gated", access=access)
    assert "The token of the option hf_token was sent" in refused("org/gated", access=Access(token="x"))


def test_the_option_comes_before_the_environment_and_that_before_the_file(hub, access, tmp_path, monkeypatch):
    hub.add("org/gated", TINY, allowed=("option", "environment", "file"), is_gated=True)
    (tmp_path / "token").write_text("file")

    find("org/gated", access=access)
    monkeypatch.setenv("HF_TOKEN", "environment")
    find("org/gated", access=access)
    find("org/gated", access=Access(token="option"))

    used = [request[3] for request in hub.requests if request[1].startswith("/api/models/org/gated?")]
    assert used == ["Bearer file", "Bearer environment", "Bearer option"]


def test_a_token_that_is_not_valid_is_an_error_about_access(hub):
    hub.add("org/private", TINY, allowed=("good",))

    assert "it is private, or the token is not valid. The token of the option hf_token" in refused(
        "org/private", access=Access(token="stale"))


def test_a_token_is_not_sent_to_another_host_that_a_file_lies_on(hub):
    hub.add("org/gated", TINY, allowed=("good",), is_gated=True)

    find("org/gated", access=Access(token="good"))

    assert [request[3] for request in hub.asked("GET", "/cdn/")] == [None]


@pytest.mark.parametrize(("field", "option"), [("model", "revision"), ("tokenizer", "tokenizer_revision")])
def test_an_unknown_revision_is_an_error_that_lists_those_there_are(hub, access, field, option):
    hub.add("org/tiny", TINY)

    said = refused("org/tiny", revision="v9", access=access, field=field)

    assert said.startswith(f"{option} = 'v9': expected a branch, tag or commit of org/tiny")
    assert "it has main, master" in said


# Without a connection

@pytest.fixture
def offline(monkeypatch):
    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_offline_the_cache_is_enough_and_nobody_is_asked(hub, access, offline):
    commit = hub.add("org/sharded", SHARDED)
    find("org/sharded", access=access)
    hub.requests.clear()
    offline()

    found = find("org/sharded", access=access)

    assert (found.commit, set(found.origins.values()), hub.requests) == (commit, {"cache"}, [])


def test_offline_a_model_that_is_not_cached_is_an_error_that_says_so(hub, access, offline, cache):
    offline()

    said = refused("org/tiny", access=access)

    assert f"the cache {cache} has no files of org/tiny" in said
    assert "HF_HUB_OFFLINE forbids to download it" in said and "`weft pull org/tiny`" in said


@pytest.mark.parametrize("missing", ["model-00002-of-00002.safetensors", "config.json"])
def test_offline_the_missing_file_is_named(hub, access, offline, missing):
    hub.add("org/sharded", SHARDED)
    (find("org/sharded", access=access).directory / missing).unlink()
    offline()

    assert f"lacks {missing} of org/sharded" in refused("org/sharded", access=access)


def test_offline_a_missing_licence_does_not_matter(hub, access, offline):
    hub.add("org/tiny", TINY | {"LICENSE.txt": b"free"})
    (find("org/tiny", access=access).directory / "LICENSE.txt").unlink()
    offline()

    assert set(find("org/tiny", access=access).origins) == set(TINY)


def test_a_cache_without_a_listing_must_have_what_every_model_has(hub, access, offline, cache):
    folder = cache / "models--org--old"
    (folder / "snapshots" / ("1" * 40)).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("1" * 40)
    (folder / "snapshots" / ("1" * 40) / "config.json").write_text("{}")
    offline()

    assert "lacks model.safetensors of org/old" in refused("org/old", access=access)
    assert set(find("org/old", access=access, want=TOKENIZER).origins) == {"config.json"}


def test_when_the_network_is_away_a_complete_cache_is_used_and_the_log_says_so(hub, access, caplog):
    commit = hub.add("org/tiny", TINY)
    find("org/tiny", access=access)
    hub.close()

    with caplog.at_level(logging.WARNING, "weft"):
        found = find("org/tiny", access=access)

    assert found.commit == commit
    assert f"org/tiny is taken from the cache, commit {commit}" in caplog.text


def test_when_the_network_is_away_and_the_cache_is_empty_the_error_says_both(hub, access):
    hub.close()

    said = refused("org/tiny", access=access)

    assert f"{hub.url} could not be reached (ConnectError" in said and "has no files of org/tiny" in said


# The disk, and the user

def test_a_full_disk_is_an_error_before_anything_is_fetched(hub, access, monkeypatch, cache):
    hub.add("org/tiny", TINY)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 5})())

    said = refused("org/tiny", access=access, want=Wanted(include=("*.safetensors",)))

    assert said.startswith(f"download_dir = '{cache}'") and "5 B are free" in said
    assert hub.downloaded() == set()


def test_a_disk_that_runs_full_meanwhile_is_the_same_error(hub, access, monkeypatch):
    hub.add("org/tiny", TINY)

    def write_nothing(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", write_nothing)

    assert "It ran full while files were written. Make room" in refused("org/tiny", access=access)


def test_an_interrupted_download_says_what_stays_and_goes_on_later(hub, access, cache):
    hub.add("org/tiny", TINY)
    hub.fail("GET", "/cdn/", call=_thread.interrupt_main)

    with pytest.raises(KeyboardInterrupt, match=f"download of org/tiny interrupted; finished files stay in {cache}"):
        find("org/tiny", access=access)
    hub.requests.clear()

    assert (find("org/tiny", access=access).directory / "model.safetensors").read_bytes() == WEIGHTS
    assert "config.json" not in hub.downloaded()


def test_patterns_choose_files_and_one_that_matches_nothing_is_an_error(hub, access):
    hub.add("org/tiny", TINY)

    assert set(find("org/tiny", access=access, want=Wanted(include=("tok*",))).origins) == {"tokenizer.json"}
    said = refused("org/tiny", access=access, want=Wanted(include=("*.onnx",)))
    assert "files that match *.onnx" in said and "config.json, model.safetensors, tokenizer.json" in said

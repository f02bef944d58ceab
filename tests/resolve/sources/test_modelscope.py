"""ModelScope, through modelscope_hub: the same promises as the hub's, with another server behind them."""

from __future__ import annotations

import importlib
import logging

import pytest
from huggingface_hub import constants
from test_hub import SHARDED, TINY, WEIGHTS, files_in, refused

from weft.errors import ConfigError
from weft.resolve.sources.find import find
from weft.resolve.sources.repository import Access
from weft.resolve.sources.wanted import Wanted

modelscope_hub = pytest.importorskip("modelscope_hub")


@pytest.fixture
def scope(hub, monkeypatch, tmp_path):
    """The fake hub as ModelScope, and names that mean its models."""
    from modelscope_hub import _download_control

    monkeypatch.setenv("WEFT_USE_MODELSCOPE", "1")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "scope"))
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODELSCOPE_DOWNLOAD_INTRA_CLOUD", "0")
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    monkeypatch.setattr(_download_control._DownloadControl, "sleep", lambda self, seconds: None)
    return hub


def test_a_model_is_fetched_from_modelscope_into_its_own_cache(scope, waits, tmp_path):
    scope.add("org/sharded", SHARDED | {"pytorch_model.bin": b"x", "original/x.json": b"{}"})

    found = find("org/sharded")

    assert (found.source, found.commit) == ("modelscope", None)
    assert found.directory == tmp_path / "scope" / "models" / "org--sharded" / "snapshots" / "master"
    assert files_in(found.directory) == {*SHARDED} - {"model-00009-of-00009.safetensors"}
    assert found.origins["config.json"] == f"{scope.url}/models/org/sharded/resolve/master/config.json"


def test_vllms_variable_means_the_same(scope, waits, monkeypatch):
    scope.add("org/tiny", TINY)
    monkeypatch.delenv("WEFT_USE_MODELSCOPE")
    monkeypatch.setenv("VLLM_USE_MODELSCOPE", "True")

    assert find("org/tiny").source == "modelscope"


def test_a_value_that_is_neither_yes_nor_no_is_an_error(scope, monkeypatch):
    monkeypatch.setenv("WEFT_USE_MODELSCOPE", "perhaps")

    with pytest.raises(ConfigError, match=r"WEFT_USE_MODELSCOPE = 'perhaps' \(in environment\): expected 0 or 1"):
        find("org/tiny")


def test_what_is_in_the_cache_is_not_fetched_again_and_what_changed_is(scope, waits):
    scope.add("org/tiny", TINY)
    find("org/tiny")
    scope.requests.clear()
    assert set(find("org/tiny").origins.values()) == {"cache"}
    assert scope.downloaded() == set()

    scope.commit("org/tiny", {"config.json": b'{"a": 1}'})

    assert {name for name, origin in find("org/tiny").origins.items() if origin != "cache"} == {"config.json"}


def test_another_folder_a_gguf_and_patterns_work_as_on_the_hub(scope, waits, tmp_path):
    scope.add("org/gguf", {"m-Q8_0.gguf": b"8", "m-Q4_0.gguf": b"4", "config.json": b"{}"})

    found = find("org/gguf:Q4_0", access=Access(download_dir=str(tmp_path / "mine")))
    assert found.gguf.is_relative_to(tmp_path / "mine") and found.gguf.read_bytes() == b"4"
    assert set(find("org/gguf", want=Wanted(include=("*Q8*",))).origins) == {"m-Q8_0.gguf"}


def test_busy_servers_and_broken_transfers_are_tried_again(scope, waits, monkeypatch):
    monkeypatch.setattr("modelscope_hub._download.DOWNLOAD_CHUNK_SIZE", 500)
    scope.add("org/tiny", TINY)
    scope.fail("GET", "repo/files", status=503)
    scope.fail("GET", "FilePath=config.json", status=429, headers={"Retry-After": "1"})
    scope.fail("GET", "/cdn/", break_after=1000)

    found = find("org/tiny")

    assert (found.directory / "model.safetensors").read_bytes() == WEIGHTS
    assert [request[2] for request in scope.asked("GET", "/cdn/")] == [None, "bytes=1000-"]


def test_a_file_that_is_not_what_the_listing_said_is_an_error(scope, waits):
    scope.add("org/moving", TINY)
    scope.fail("GET", "FilePath=config.json", times=9, call=lambda: scope.commit("org/moving", {"config.json": b"[]"}))

    assert "Hash mismatch" in refused("org/moving")


def test_an_unknown_model_and_an_unknown_revision_are_told_apart(scope, waits):
    scope.add("org/tiny", TINY)

    assert f"{scope.url}/models/org/none does not exist, or is private" in refused("org/none")
    said = refused("org/tiny", revision="v9")
    assert said.startswith("revision = 'v9'") and "it has main, master" in said


def test_a_private_model_says_where_tokens_are_looked_for(scope, waits, monkeypatch):
    scope.add("org/private", TINY, allowed=("good",))

    assert "MODELSCOPE_API_TOKEN" in refused("org/private")
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "good")
    assert find("org/private").source == "modelscope"


def test_offline_and_without_a_network_the_cache_is_used(scope, waits, monkeypatch, caplog):
    scope.add("org/tiny", TINY)
    find("org/tiny")
    scope.close()

    with caplog.at_level(logging.WARNING, "weft"):
        assert set(find("org/tiny").origins) == set(TINY)
    assert "org/tiny is taken from the cache" in caplog.text

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    directory = find("org/tiny").directory
    (directory / "model.safetensors").unlink()
    assert "lacks model.safetensors of org/tiny, and HF_HUB_OFFLINE" in refused("org/tiny")
    assert "has no files of org/none" in refused("org/none")


def test_a_full_disk_is_the_same_error_as_on_the_hub(scope, waits, monkeypatch, tmp_path):
    scope.add("org/tiny", TINY)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1})())

    assert refused("org/tiny").startswith(f"download_dir = '{tmp_path / 'scope'}'")


def test_without_the_package_the_error_says_what_to_install(scope, monkeypatch):
    def absent(name, *args):
        if name == "modelscope_hub":
            raise ModuleNotFoundError(name)
        return real(name, *args)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", absent)

    assert r"pip install 'weft[modelscope]'" in refused("org/tiny")

"""Names of things on this machine: taken as they are, without a socket."""

from __future__ import annotations

import socket

import pytest

from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.resolve.files import find_model, find_tokenizer
from weft.resolve.sources.find import find
from weft.resolve.sources.wanted import ADAPTER, MODEL, PROCESSOR, TOKENIZER


@pytest.fixture
def no_sockets(monkeypatch):
    def refuse(*args, **options):
        pytest.fail("a socket was made")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.delenv("WEFT_USE_MODELSCOPE", raising=False)


@pytest.mark.parametrize("want", [MODEL, TOKENIZER, PROCESSOR, ADAPTER],
                         ids=["model", "tokenizer", "processor", "adapter"])
@pytest.mark.parametrize("source", ["0", "1"], ids=["hub", "modelscope"])
def test_a_directory_opens_no_socket_whatever_is_wanted_of_it(tmp_path, monkeypatch, no_sockets, want, source):
    (tmp_path / "org" / "m").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEFT_USE_MODELSCOPE", source)

    found = find("org/m", revision="main", want=want)

    assert (found.directory, found.source, found.commit) == (tmp_path / "org" / "m", "local directory", None)


def test_a_gguf_file_and_a_path_that_leads_nowhere_need_no_socket_either(tmp_path, no_sockets):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")

    assert find(str(tmp_path / "m.gguf")).gguf == tmp_path / "m.gguf"
    with pytest.raises(ConfigError, match="does not exist"):
        find(str(tmp_path / "nothing"))


def test_options_of_a_model_in_a_directory_open_no_socket(tmp_path, no_sockets):
    args = EngineArgs(model=str(tmp_path), tokenizer=str(tmp_path), revision="v1", hf_token="secret")

    assert find_tokenizer(args, find_model(args)) == tmp_path


@pytest.mark.parametrize("text", ['{"org/m": "FOLDER"}', "org/other /nowhere\norg/m FOLDER\n"], ids=["json", "lines"])
@pytest.mark.parametrize("prefix", ["WEFT", "VLLM"])
def test_a_redirect_file_says_which_folder_a_name_means(tmp_path, monkeypatch, no_sockets, text, prefix):
    (tmp_path / "mine").mkdir()
    (tmp_path / "redirects").write_text(text.replace("FOLDER", str(tmp_path / "mine")))
    monkeypatch.setenv(f"{prefix}_MODEL_REDIRECT_PATH", str(tmp_path / "redirects"))

    found = find("org/m")

    assert (found.name, found.directory) == ("org/m", tmp_path / "mine")


def test_a_redirect_file_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("WEFT_MODEL_REDIRECT_PATH", str(tmp_path / "none"))

    with pytest.raises(ConfigError, match=r"WEFT_MODEL_REDIRECT_PATH = .*a readable file"):
        find("org/m")

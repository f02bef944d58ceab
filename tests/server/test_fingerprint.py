"""`system_fingerprint` of answers: the same for the same weights, options and version."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest
from fake_engine import FakeEngine
from http_server import running_server
from safetensors.torch import load_file, save_file
from tiny_llama import make_checkpoint

from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.errors import ConfigError
from weft.resolve.engine_config import resolve_engine_config
from weft.server.fingerprint import fingerprint_of
from weft.server.options import ServerOptions
from weft.version import __version__

HASH = ServerOptions(fingerprint_mode="hash")


def config_of(folder, **options):
    return resolve_engine_config(EngineArgs(str(folder), **options), Machine.detect())


@pytest.fixture
def model(tmp_path):
    return make_checkpoint(tmp_path / "model")


def test_another_place_name_and_size_of_the_cache_change_nothing(model, tmp_path):
    same = make_checkpoint(tmp_path / "same")

    assert fingerprint_of(config_of(model), HASH) == fingerprint_of(
        config_of(same, served_model_name="x", kv_cache_memory_bytes=2**20, max_num_seqs=3), HASH)


@pytest.mark.parametrize("options", [{"quantization": "int8"}, {"dtype": "bfloat16"}, {"seed": 3},
                                     {"cpu_isa": "reference"}, {"hf_overrides": {"rms_norm_eps": 1e-3}}])
def test_options_that_answers_depend_on_change_it(model, options):
    assert fingerprint_of(config_of(model, **options), HASH) != fingerprint_of(config_of(model), HASH)


def test_other_weights_of_the_same_shape_change_it(model):
    config, file = config_of(model), model / "model.safetensors"
    before = fingerprint_of(config, HASH)

    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)

    assert fingerprint_of(config, HASH) != before


def test_the_option_says_how_it_looks(model):
    config = config_of(model)
    digest = fingerprint_of(config, HASH)

    assert fingerprint_of(config, ServerOptions()) == f"weft-{__version__}-{digest}"
    assert fingerprint_of(config, ServerOptions(fingerprint_mode="custom", fingerprint_value="mine")) == "mine"
    assert fingerprint_of(config, ServerOptions(fingerprint_mode="none")) is None
    for wrong in ({"fingerprint_mode": "some"}, {"fingerprint_mode": "custom"}, {"fingerprint_value": "x"}):
        with pytest.raises(ConfigError, match="fingerprint_"):
            replace(ServerOptions(), **wrong)


@pytest.mark.parametrize(("path", "body"), [
    ("/v1/completions", {"prompt": "a"}), ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]})])
def test_answers_and_chunks_have_it_unless_it_is_off(path, body):
    options = ServerOptions(fingerprint_mode="custom", fingerprint_value="mine")
    with running_server(FakeEngine(), options) as url:
        assert httpx.post(url + path, json=body).json()["system_fingerprint"] == "mine"
        lines = httpx.post(url + path, json=body | {"stream": True}).text.splitlines()
        chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert {chunk["system_fingerprint"] for chunk in chunks} == {"mine"}
    with running_server(FakeEngine(), ServerOptions(fingerprint_mode="none")) as url:
        assert "system_fingerprint" not in httpx.post(url + path, json=body).json()

"""`get_config` and the functions for single files find a model as the engine does: pinned, offline, with its errors."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import constants

from weft.errors import ConfigError
from weft.resolve import (
    file_or_path_exists,
    get_config,
    get_config_parser,
    get_hf_file_to_dict,
    list_repo_files,
    try_get_local_file,
)
from weft.resolve.files import find_config_files
from weft.resolve.formats import format_of

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 259, "hidden_size": 32,
          "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
CODE = """
from transformers import PretrainedConfig

class MineConfig(PretrainedConfig):
    model_type = "mine"
"""


def model(**changes) -> dict[str, bytes]:
    return {"config.json": json.dumps(CONFIG | changes).encode(), "tokenizer.json": b"{}", "model.safetensors": b"w"}


@pytest.fixture(autouse=True)
def at_once(waits):
    """Tries follow each other without waiting."""


def test_the_config_of_a_hub_id_is_of_its_revision_and_comes_without_weights(hub):
    old = hub.add("org/tiny", model())
    hub.commit("org/tiny", model(hidden_size=64))

    assert get_config("org/tiny", trust_remote_code=False).hidden_size == 64
    assert get_config("org/tiny", trust_remote_code=False, revision=old).hidden_size == 32
    assert get_config_parser("hf").parse("org/tiny", False, old)[0] == CONFIG
    assert "model.safetensors" not in hub.downloaded()


def test_offline_the_cache_answers_and_is_the_only_one_asked(hub, monkeypatch):
    hub.add("org/tiny", model())
    get_config("org/tiny", trust_remote_code=False)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    assert get_config("org/tiny", trust_remote_code=False).hidden_size == 32
    assert get_hf_file_to_dict("config.json", "org/tiny") == CONFIG
    assert file_or_path_exists("org/tiny", "config.json")
    assert hub.requests == []


@pytest.mark.parametrize("read", [
    lambda name, **options: get_config(name, trust_remote_code=False, **options),
    lambda name, **options: get_config_parser("hf").parse(name, False, **options),
    lambda name, **options: get_hf_file_to_dict("config.json", name, **options),
    lambda name, **options: list_repo_files(name, **options),
    lambda name, **options: file_or_path_exists(name, "config.json", **options),
], ids=["get_config", "parser", "get_hf_file_to_dict", "list_repo_files", "file_or_path_exists"])
def test_what_goes_wrong_is_said_as_the_engine_says_it(hub, monkeypatch, read):
    hub.add("org/tiny", model())

    with pytest.raises(ConfigError, match=r"revision = 'v9'.*has no revision 'v9'; it has main, master"):
        read("org/tiny", revision="v9")
    with pytest.raises(ConfigError, match=r"org/none does not exist, or is private.*No token was sent"):
        read("org/none")
    with pytest.raises(ConfigError, match="expected a directory that exists"):
        read("/no/such/place")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="has no files of org/tiny, and HF_HUB_OFFLINE forbids to download it"):
        read("org/tiny")


def test_a_token_is_sent(hub):
    hub.add("org/closed", model(), allowed=("secret",))

    assert get_config("org/closed", trust_remote_code=False, token="secret").hidden_size == 32
    assert get_hf_file_to_dict("config.json", "org/closed", token="secret") == CONFIG
    with pytest.raises(ConfigError, match="org/closed"):
        get_config("org/closed", trust_remote_code=False)


def test_code_of_the_repository_comes_with_trust_and_is_of_the_same_commit(hub, monkeypatch, tmp_path):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    hub.add("org/code", model(model_type="mine", auto_map={"AutoConfig": "configuration_mine.MineConfig"})
            | {"configuration_mine.py": CODE.encode()})

    with pytest.raises(ConfigError, match="trust_remote_code=True"):
        get_config("org/code", trust_remote_code=False)
    assert "configuration_mine.py" not in hub.downloaded()

    assert type(get_config("org/code", trust_remote_code=True)).__name__ == "MineConfig"


def test_a_gguf_reference_means_the_config_beside_it_and_fetches_no_gguf(hub):
    hub.add("org/gguf", {"config.json": json.dumps(CONFIG).encode(), "m-Q4_0.gguf": b"4"})

    assert get_config("org/gguf:Q4_0", trust_remote_code=False).hidden_size == 32
    assert hub.downloaded() == {"config.json"}


def test_the_format_is_chosen_by_all_files_of_the_repository_fetched_or_not(hub):
    hub.add("org/mistral", {"params.json": b"{}", "consolidated.safetensors": b"w"})

    found = find_config_files("org/mistral")

    assert format_of(found.names, "org/mistral")[0] == "mistral"
    assert not (found.directory / "consolidated.safetensors").exists()


def test_single_files_are_listed_looked_for_and_read(hub, tmp_path):
    hub.add("org/tiny", model())
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "config.json").write_text("{}")

    assert list_repo_files("org/tiny") == ["config.json", "model.safetensors", "tokenizer.json"]
    assert list_repo_files(tmp_path / "local") == ["config.json"]
    assert (file_or_path_exists("org/tiny", "config.json"), file_or_path_exists("org/tiny", "x.json")) == (True, False)
    assert try_get_local_file("org/tiny", "config.json") is None
    assert get_hf_file_to_dict("config.json", "org/tiny") == CONFIG
    assert try_get_local_file("org/tiny", "config.json").read_bytes() == model()["config.json"]
    assert get_hf_file_to_dict("x.json", "org/tiny") is None
    assert (get_hf_file_to_dict("config.json", tmp_path / "local"), get_hf_file_to_dict("x", tmp_path / "local")) == (
        {}, None)
    with pytest.raises(ConfigError, match="repo_type = 'dataset'"):
        list_repo_files("org/tiny", repo_type="dataset")

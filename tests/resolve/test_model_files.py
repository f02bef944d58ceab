"""From a name to a folder: embedded, local or hub; an error says what was tried."""

import huggingface_hub
import pytest
from huggingface_hub import constants
from model_dir import write_model

import weft.embedded
from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.resolve import hub
from weft.resolve.files import find_model, find_model_file, find_tokenizer


def test_no_name_is_the_embedded_model():
    found = find_model(EngineArgs())

    assert (found.directory, found.source) == (weft.embedded.path(), "embedded")


def test_a_directory_is_taken_as_it_is_under_the_name_given(tmp_path, monkeypatch):
    write_model(tmp_path / "m")
    monkeypatch.chdir(tmp_path)

    found = find_model(EngineArgs(model="m"))

    assert (found.name, found.directory, found.source) == ("m", (tmp_path / "m").resolve(), "local directory")


@pytest.mark.parametrize(("name", "said"), [
    ("./nowhere", "does not exist"),
    ("/nowhere/at/all", "(/ does)"),
    ("~/no-such-model", "does not exist"),
    ("a/b/c", "a directory that exists"),
    ("models/", "a directory that exists"),
    ("", "a directory or a hub id"),
    ("no such name", "a directory that exists"),
    ("x" * 5000, "a directory or a hub id"),
    ("a\0b", "a directory that exists"),
    ("~no-such-user/model", "a directory or a hub id"),
])
def test_what_looks_like_a_path_and_is_none_is_an_error_without_asking_the_hub(name, said, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))

    with pytest.raises(ConfigError, match=r"^model = ") as caught:
        find_model(EngineArgs(model=name))

    assert said in str(caught.value)


def test_a_file_of_another_kind_is_no_model(tmp_path):
    (tmp_path / "config.json").write_text("")

    with pytest.raises(ConfigError, match=r"a directory or a .gguf file. Pass its directory"):
        find_model(EngineArgs(model=str(tmp_path / "config.json")))


def test_the_tokenizer_is_the_models_unless_another_is_named(tmp_path):
    model, other = write_model(tmp_path / "m"), write_model(tmp_path / "t")
    args = EngineArgs(model=str(model), tokenizer=str(other))

    assert find_tokenizer(EngineArgs(model=str(model)), find_model(args)) == model.resolve()
    assert find_tokenizer(args, find_model(args)) == other.resolve()


def test_a_missing_tokenizer_is_an_error_about_the_tokenizer(tmp_path):
    args = EngineArgs(model=str(write_model(tmp_path / "m")), tokenizer=str(tmp_path / "t"))

    with pytest.raises(ConfigError, match=r"^tokenizer = "):
        find_tokenizer(args, find_model(args))


def test_a_model_file_becomes_an_absolute_path(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    monkeypatch.chdir(tmp_path)

    assert find_model_file("mine.py") == (tmp_path / "mine.py").resolve()
    with pytest.raises(ConfigError, match=r"model_file = 'other\.py'.*does not exist"):
        find_model_file("other.py")
    with pytest.raises(ConfigError, match="is a directory"):
        find_model_file(".")


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def cached_model(cache, repo_id):
    """A repository as huggingface_hub keeps it."""
    folder, commit = cache / f"models--{repo_id.replace('/', '--')}", "0" * 40
    snapshot = write_model(folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    return snapshot


def test_offline_a_hub_id_is_found_in_the_cache(tmp_path, offline):
    snapshot = cached_model(tmp_path, "someone/model")

    found = find_model(EngineArgs(model="someone/model", download_dir=str(tmp_path)))

    assert (found.directory, found.source) == (snapshot, "hub")


def test_offline_a_hub_id_that_is_not_cached_is_an_error_that_says_so(tmp_path, offline):
    with pytest.raises(ConfigError) as caught:
        find_model(EngineArgs(model="someone/model", download_dir=str(tmp_path)))

    assert "There is no directory 'someone/model' here" in str(caught.value)
    assert "HF_HUB_OFFLINE" in str(caught.value)


def test_without_a_connection_the_error_says_what_was_tried(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda token: type("Api", (), {"list_repo_files": refuse})())
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)

    with pytest.raises(ConfigError) as caught:
        find_model(EngineArgs(model="someone/model"))

    for said in ("There is no directory 'someone/model' here", f"{constants.ENDPOINT}/someone/model", "no route"):
        assert said in str(caught.value)


def test_revision_token_and_folder_reach_the_hub_and_only_needed_files_are_asked_for(tmp_path, monkeypatch):
    asked = {}
    files = ["config.json", "model.safetensors", "pytorch_model.bin", "original/consolidated.pth"]
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda token: type("Api", (), {
        "list_repo_files": lambda self, repo_id, revision: files})())
    monkeypatch.setattr(huggingface_hub, "snapshot_download",
                        lambda repo_id, **options: asked.update(options, repo_id=repo_id) or str(tmp_path))

    hub.download("a/b", revision="v1", token="secret", download_dir="/cache")

    assert (asked["repo_id"], asked["revision"]) == ("a/b", "v1")
    assert (asked["token"], asked["cache_dir"]) == ("secret", "/cache")
    assert "*.safetensors" in asked["allow_patterns"]
    assert not {"*.bin", "*.py"} & set(asked["allow_patterns"])
    assert "original/*" in asked["ignore_patterns"]


@pytest.mark.parametrize(("files", "chosen"), [
    (["model.safetensors", "pytorch_model.bin"], "safetensors"),
    (["pytorch_model-00001-of-00002.bin"], "pt"),
    (["pytorch_model.bin", "onnx/model.safetensors"], "pt"),
    (["config.json"], "safetensors"),
])
def test_pytorch_files_are_taken_when_there_are_no_safetensors(files, chosen):
    assert hub.weight_format(files) == chosen



"""From engine options to a folder: embedded, local or hub (sources/ says more); an error says what was tried."""

import huggingface_hub
import pytest
from model_dir import write_model

import weft.embedded
from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.resolve.files import find_model, find_model_file, find_tokenizer
from weft.resolve.sources.find import find


def test_no_name_is_the_embedded_model():
    found = find_model(EngineArgs())

    assert (found.directory, found.source) == (weft.embedded.path(), "embedded")


def test_a_directory_is_taken_as_it_is_under_the_name_given(tmp_path, monkeypatch):
    write_model(tmp_path / "m")
    monkeypatch.chdir(tmp_path)

    found = find_model(EngineArgs(model="m"))

    assert (found.name, found.directory, found.source) == ("m", (tmp_path / "m").resolve(), "local directory")


@pytest.mark.parametrize(("options", "weights"), [
    ({}, "auto"), ({"load_format": "dummy"}, "none"), ({"load_format": "mistral"}, "mistral"),
    ({"config_format": "mistral"}, "mistral"), ({"config_format": "mistral", "load_format": "pt"}, "pt"),
])
def test_the_weights_that_are_fetched_are_those_that_will_be_read(tmp_path, monkeypatch, options, weights):
    asked = []
    monkeypatch.setattr("weft.resolve.files.find", lambda name, *, want, **rest: asked.append(want.weights) or find(
        name, want=want, **rest))

    find_model(EngineArgs(model=str(write_model(tmp_path)), **options))

    assert asked == [weights]


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
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda *a, **k: pytest.fail("asked the hub"))

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

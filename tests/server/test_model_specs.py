"""Which models a server may load: one, those of a folder, those of a list; and how long each stays."""

from __future__ import annotations

import json
import math

import pytest

from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.errors import ConfigError, NotBuiltError
from weft.server.model_pool.keep_alive import read_keep_alive
from weft.server.model_pool.spec import model_specs
from weft.server.options import ServerOptions

MACHINE = Machine.detect()


def specs(args: EngineArgs | None = None, **options):
    return model_specs(args or EngineArgs(), ServerOptions(**options), MACHINE)


def listed(tmp_path, *entries, **options):
    file = tmp_path / "models.json"
    file.write_text(json.dumps({"models": entries}))
    return specs(models=str(file), **options)


@pytest.mark.parametrize(("value", "seconds"), [
    (0, 0), (90, 90), (1.5, 1.5), (-1, math.inf), ("-1", math.inf), ("-5m", math.inf), ("300", 300), ("5m", 300),
    ("1h30m", 5400), ("1.5h", 5400), ("500ms", 0.5), (" 10s ", 10)])
def test_a_time_is_written_as_ollamas_clients_write_it(value, seconds):
    assert read_keep_alive(value) == seconds


@pytest.mark.parametrize("value", ["", "soon", "5 m", "5d", "m", "5m!", True, math.nan, None, [5]])
def test_a_time_that_is_none_is_named(value):
    with pytest.raises(ConfigError, match=r'^keep_alive = .*seconds, or a duration such as "5m"'):
        read_keep_alive(value)


def test_one_model_stays_unless_its_operator_says_how_long():
    [spec] = specs(EngineArgs("there/model", served_model_name=("a", "b")))
    assert (spec.names, spec.is_resident, spec.keep_alive) == (("a", "b"), True, math.inf)
    assert specs()[0].names == ("weft-embedded",)

    [spec] = specs(EngineArgs("there/model"), keep_alive="10m")
    assert (spec.names, spec.is_resident, spec.keep_alive) == (("there/model",), False, 600)
    assert spec.loads_at_start


def test_each_checkpoint_and_gguf_file_of_a_folder_is_a_model(tmp_path):
    for file in ("tiny/config.json", "org/big/params.json", "q4.gguf", "split-00001-of-00002.gguf",
                 "split-00002-of-00002.gguf", "mmproj-q4.gguf", "one/model-Q8_0.gguf", "two/a.gguf", "two/b.gguf",
                 ".hidden/config.json", "notes.txt", "empty/readme.md"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()

    found = {spec.name: spec.args.model for spec in specs(model_dir=str(tmp_path))}

    assert found == {name: str(tmp_path / path) for name, path in {
        "tiny": "tiny", "org/big": "org/big", "q4": "q4.gguf", "split": "split-00001-of-00002.gguf", "one": "one",
        "two/a": "two/a.gguf", "two/b": "two/b.gguf"}.items()}


def test_two_models_of_a_folder_that_have_one_name_are_refused(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").touch()
    (tmp_path / "tiny.gguf").touch()
    with pytest.raises(ConfigError, match=r"named 'tiny'\. There are .*tiny\.gguf and .*tiny: rename"):
        specs(model_dir=str(tmp_path))


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "locked").mkdir()
    read = type(tmp_path).iterdir

    def iterdir(folder):      # rights do not hold for the administrator, whom tests may run as
        if folder.name == "locked":
            raise PermissionError(13, "Permission denied")
        return read(folder)

    monkeypatch.setattr(type(tmp_path), "iterdir", iterdir)
    with pytest.raises(ConfigError, match=r"locked': expected folders that can be read\. Permission denied"):
        specs(model_dir=str(tmp_path))


def test_models_of_a_list_have_options_of_their_own_over_those_of_the_server(tmp_path):
    (tmp_path / "here").mkdir()

    small, big = listed(
        tmp_path, {"name": "small", "model": "here", "aliases": ["s"], "max-model-len": 64, "keep_alive": "1m"},
        {"name": "big", "model": "org/big", "reasoning_parser": "none", "keep_alive": -1, "preload": True},
        keep_alive="2h")

    assert (small.names, small.args.model, small.args.max_model_len, small.keep_alive) == (
        ("small", "s"), str(tmp_path / "here"), 64, 60)
    assert (big.args.model, big.args.reasoning_parser, big.keep_alive, big.is_resident) == (
        "org/big", "none", math.inf, False)
    assert (small.loads_at_start, big.loads_at_start) == (False, True)
    assert small.args.served_model_name == ("small", "s") and small.args.max_num_batched_tokens == 2048
    assert listed(tmp_path, {"name": "x", "model": "x"})[0].keep_alive == 300


def test_the_name_of_a_parser_that_nobody_has_is_refused_with_its_entry(tmp_path):
    with pytest.raises(ConfigError, match=r"^models\[1\] \(b\)\.tool_call_parser = 'herms': .*Did you mean hermes"):
        listed(tmp_path, {"name": "a", "model": "a"}, {"name": "b", "model": "b", "tool_call_parser": "herms"})


@pytest.mark.parametrize(("options", "slowdown"), [
    ({}, 2.0), ({"prefill_slowdown": 1.5}, 1.5), ({"long_prefill_token_threshold": 100}, None),
    ({"enable_chunked_prefill": False}, None)])
def test_a_server_lets_long_prompts_double_the_time_of_a_step_unless_told_otherwise(options, slowdown):
    assert specs(EngineArgs("there/model", **options))[0].args.prefill_slowdown == slowdown


def test_a_slowdown_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"prefill_slowdown = 1.0: expected a number above 1"):
        EngineArgs(prefill_slowdown=1.0)


@pytest.mark.parametrize(("name", "text"), [
    ("m.toml", '[[models]]\nname = "a"\nmodel = "org/a"\n\n[[models]]\nname = "b"\nmodel = "b"\n'),
    ("m.yaml", "models:\n- {name: a, model: org/a}\n- {name: b, model: b}\n"),
    ("m.json", '{"models": [{"name": "a", "model": "org/a"}, {"name": "b", "model": "b"}]}')])
def test_a_list_is_toml_yaml_or_json(tmp_path, name, text):
    (tmp_path / name).write_text(text)

    assert [(spec.name, spec.args.model) for spec in specs(models=str(tmp_path / name))] == [
        ("a", "org/a"), ("b", "b")]


@pytest.mark.parametrize(("entry", "says"), [
    ({"name": "a", "max_model_length": 4}, r"models\[0\] \(a\).max_model_length = 4: .*Did you mean max_model_len"),
    ({"name": "a", "max_model_len": "x"}, r"models\[0\] \(a\).max_model_len = 'x'"),
    ({"name": "a", "keep_alive": "soon"}, r"models\[0\] \(a\).keep_alive = 'soon'"),
    ({"name": "a", "aliases": "b"}, r"models\[0\] \(a\).aliases = 'b'.*a list of names"),
    ({"name": "a", "preload": "yes"}, r"models\[0\] \(a\).preload = 'yes'"),
    ({"name": "a", "plugins": ["x"]}, r"models\[0\] \(a\).plugins .*for all models"),
    ({"name": "a", "served_model_name": "b"}, r"models\[0\] \(a\).served_model_name .*aliases"),
    ({"name": "a", "aliases": ["a"]}, "models = 'a': .*a name that one model has"),
    ({"model": "a"}, r"models\[0\] = .*an object with a name"),
    ({"name": "a", "model": ...}, r"models\[0\] \(a\).model = None .*name or path"),
    ({"name": "a", "model": 7}, r"models\[0\] \(a\).model = 7")])
def test_a_wrong_entry_is_named(tmp_path, entry, says):
    entry = {"model": "org/a"} | entry
    with pytest.raises(ConfigError, match=says):
        listed(tmp_path, {field: value for field, value in entry.items() if value is not ...})


def test_an_option_without_code_is_refused_in_an_entry_too(tmp_path):
    with pytest.raises(NotBuiltError, match=r"models\[0\] \(a\).enable_lora"):
        listed(tmp_path, {"name": "a", "model": "a", "enable_lora": True})


@pytest.mark.parametrize("options", [{"model_dir": "/nowhere"}, {"models": "/nowhere.json"}, {"models": "list.txt"},
                                     {"models": "/nowhere.json", "model_dir": "/"}])
def test_files_that_are_not_there_are_named(options):
    with pytest.raises(ConfigError, match=r"^model"):
        specs(**options)


def test_a_folder_without_models_and_one_that_is_a_model_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="It has none"):
        specs(model_dir=str(tmp_path))
    (tmp_path / "config.json").touch()
    with pytest.raises(ConfigError, match=r"`weft serve .*` serves it"):
        specs(model_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=r"^model = 'a': expected none beside"):
        specs(EngineArgs("a"), model_dir=str(tmp_path))

"""config.json: what is wrong with a file is said with the file's name; overrides are merged and remembered."""

import pytest
from model_dir import write_model

from weft.architectures.reader import ConfigReader
from weft.errors import ConfigError
from weft.resolve.config_file import read_config
from weft.resolve.json_file import read_json
from weft.resolve.options.overrides import merge

BROKEN_JSON = [
    ('{"a": 1,\n  "b": }', ["Line 2, column 8", "expected valid JSON"]),
    ('{"a": 1', ["Line 1, column 8"]),
    ("", ["Line 1, column 1"]),
    ("[1, 2]", ["a JSON object", "[1, 2]"]),
    ("null", ["a JSON object"]),
    ("[" * 100_000, ["sane size"]),
    ('{"a": ' + "9" * 5000 + "}", ["sane size"]),
]


@pytest.mark.parametrize(("text", "said"), BROKEN_JSON, ids=["value", "end", "empty", "list", "null", "deep", "huge"])
def test_a_broken_json_file_is_an_error_that_says_where(tmp_path, text, said):
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path, {})

    for part in [*said, str(tmp_path / "config.json")]:
        assert part in str(caught.value)


def test_a_file_that_is_not_utf_8_is_an_error_that_gives_the_byte(tmp_path):
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff"}')

    with pytest.raises(ConfigError, match="Byte 7"):
        read_json(tmp_path / "config.json")


def test_a_byte_order_mark_is_no_error(tmp_path):
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')

    assert read_json(tmp_path / "config.json") == {"a": 1}


@pytest.mark.parametrize(("there", "said"), [
    ({}, "It is empty."),
    ({"weights.gguf": ""}, "There are .gguf files: pass the path of the one to run"),
    ({"params.json": "{}"}, "There is a params.json, but no consolidated*.safetensors"),
    ({"README.md": ""}, "It holds README.md."),
])
def test_a_directory_without_config_json_is_an_error_that_says_what_is_there(tmp_path, there, said):
    for name, text in there.items():
        (tmp_path / name).write_text(text)

    with pytest.raises(ConfigError, match=r"a directory with a config\.json") as caught:
        read_config(tmp_path, {})

    assert said in str(caught.value)


def test_a_directory_with_mistrals_own_format_only_has_no_config_json(tmp_path):
    for name in ("params.json", "consolidated.safetensors"):
        (tmp_path / name).write_text("{}")

    with pytest.raises(ConfigError, match=r"with a config\.json\. For config_format mistral there are params\.json"):
        read_config(tmp_path, {})


def test_the_directory_above_the_model_is_an_error_that_names_the_one_below(tmp_path):
    write_model(tmp_path / "snapshot")

    with pytest.raises(ConfigError, match="snapshot: did you mean that"):
        read_config(tmp_path, {})


def test_missing_architectures_follow_from_the_model_type(tmp_path):
    config = read_config(write_model(tmp_path, without=["architectures"], model_type="qwen2"), {})

    assert config.architecture == "Qwen2ForCausalLM"
    assert config.origins["architectures"] == "model_type qwen2"


@pytest.mark.parametrize("changes", [{"model_type": "never-heard"}, {"model_type": None}])
def test_missing_architectures_of_an_unknown_type_are_an_error(tmp_path, changes):
    with pytest.raises(ConfigError, match="architectures = None") as caught:
        read_config(write_model(tmp_path, without=["architectures"], **changes), {})

    assert repr(changes["model_type"]) in str(caught.value)


@pytest.mark.parametrize("changes", [{"model_type": ["llama"]}, {"text_config": {"model_type": 3}}])
def test_a_model_type_that_is_no_string_is_an_error(tmp_path, changes):
    with pytest.raises(ConfigError, match=r"model_type = .*config\.json\): expected a string"):
        read_config(write_model(tmp_path, **changes), {})


@pytest.mark.parametrize("value", ["LlamaForCausalLM", [1], {"a": 1}])
def test_architectures_of_another_type_are_an_error(tmp_path, value):
    with pytest.raises(ConfigError, match="expected a list of strings"):
        read_config(write_model(tmp_path, architectures=value), {})


def test_overrides_are_merged_into_nested_dictionaries_and_remembered(tmp_path):
    directory = write_model(tmp_path, moe={"a": 1, "b": 2})

    config = read_config(directory, {"moe": {"b": 3}, "hidden_size": 64})

    assert config.values["moe"] == {"a": 1, "b": 3}
    assert config.values["hidden_size"] == 64
    assert config.origins == {"moe.b": "override", "hidden_size": "override"}


def test_a_reader_of_a_nested_config_knows_which_of_its_keys_are_overrides():
    values, origins = merge({"text_config": {"a": 1, "b": 2}}, {"text_config": {"b": 3}})
    reader = ConfigReader(values, origins=origins).sub("text_config")

    assert (reader.int("a"), reader.int("b")) == (1, 3)
    assert reader.values_read() == {"text_config.a": (1, "config.json"), "text_config.b": (3, "override")}


def test_an_override_does_not_change_the_dictionary_it_is_merged_into():
    original = {"a": {"b": 1}}

    merge(original, {"a": {"b": 2}})

    assert original == {"a": {"b": 1}}

"""Which format a model's config has, who parses it, and how a user's own parser is used from end to end."""

import logging
import subprocess
import sys

import pytest
from model_dir import CONFIG, write_model

from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.resolve import (
    ConfigFormat,
    ConfigParserBase,
    get_config,
    get_config_parser,
    parsers,
    register_config_parser,
)
from weft.resolve.formats import choose_format, format_of
from weft.resolve.hf.parser import HFConfigParser
from weft.resolve.model_config import read_model_config

MISTRAL = ["params.json", "consolidated.safetensors"]
PARAMS = {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "vocab_size": 100,
          "norm_eps": 1e-5}
PARSER = '''
import json
from pathlib import Path

from transformers import LlamaConfig

from weft.resolve import ConfigParserBase, register_config_parser


@register_config_parser("{name}")
class Parser(ConfigParserBase):
    def parse(self, model, trust_remote_code, revision=None, code_revision=None, **kwargs):
        raw = json.loads((Path(model) / "mine.json").read_text())
        values = {{"hidden_size": raw["width"], "num_attention_heads": raw["heads"], "rope_scaling": raw.get("rope"),
                  "architectures": ["LlamaForCausalLM"]}}
        return values, LlamaConfig(**values)
'''


@pytest.fixture(autouse=True)
def table(monkeypatch):
    """The table of parsers, as it was before the test."""
    monkeypatch.setattr(parsers, "_CONFIG_FORMAT_TO_CONFIG_PARSER", dict(parsers._CONFIG_FORMAT_TO_CONFIG_PARSER))


def mine(tmp_path, name="mine", **values):
    """A model in a format of its own, and the parser's file."""
    path = write_model(tmp_path / "m", {"mine.json": {"width": 32, "heads": 4} | values})
    (path / "config.json").unlink()
    (tmp_path / f"{name}.py").write_text(PARSER.format(name=name))
    return path, str(tmp_path / f"{name}.py")


def read(path, **options):
    return read_model_config(EngineArgs(model=str(path), **options), path)


@pytest.mark.parametrize(("names", "expected"), [
    (["config.json"], "hf"), (["config.json", *MISTRAL], "mistral"), (MISTRAL, "mistral"),
    (["config.json", "params.json"], "hf"), (["config.json", MISTRAL[1]], "hf"),      # Mistral's is both of its files
    (["config.json", "params.json", "consolidated.00-of-02.safetensors"], "mistral"),
])
def test_auto_takes_mistrals_format_first_where_it_is_complete_and_says_why(names, expected):
    name, why = format_of(names, "m")

    assert name == expected
    assert ("params.json and consolidated" in why) == (expected == "mistral")


def test_neither_file_is_an_error_that_names_both():
    with pytest.raises(ConfigError, match=r"a directory with a config\.json, or with a params\.json"):
        format_of(["README.md"], "m")


def test_the_choice_is_logged_with_its_reason(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="weft"):
        read(write_model(tmp_path))

    assert "config format hf: there is a config.json" in caplog.text


def test_a_format_may_be_demanded(tmp_path):
    path = write_model(tmp_path, {"params.json": PARAMS})

    assert read(path).values["hidden_size"] == 32
    assert read(path, config_format="mistral").values["hidden_size"] == 64


def test_an_unknown_format_is_an_error_with_the_nearest_name(tmp_path):
    with pytest.raises(ConfigError, match=r"config_format = 'mistrl': expected auto, hf, .*Did you mean mistral"):
        read(write_model(tmp_path), config_format="mistrl")
    with pytest.raises(ValueError, match="config_format"):
        get_config(write_model(tmp_path), False, config_format="nope")


def test_a_parser_is_made_anew_for_each_config():
    assert isinstance(get_config_parser("hf"), HFConfigParser)
    assert get_config_parser(ConfigFormat.HF) is not get_config_parser("hf")


def test_registering_wants_a_subclass_returns_it_and_warns_when_it_replaces(caplog):
    class Mine(ConfigParserBase):
        def parse(self, model, trust_remote_code, revision=None, code_revision=None, **kwargs):
            raise NotImplementedError

    assert register_config_parser("mine")(Mine) is Mine
    assert caplog.text == ""
    register_config_parser("hf")(Mine)
    assert "config format hf had a parser already: Mine takes its place" in caplog.text
    with pytest.raises(ValueError, match="subclass of ConfigParserBase"):
        register_config_parser("mine")(dict)
    with pytest.raises(ValueError, match="auto is no config format"):
        register_config_parser("auto")(Mine)


def test_a_parser_file_is_used_by_being_given(tmp_path):
    path, file = mine(tmp_path, width=64)

    config = read(path, config_parser_file=file)

    assert config.values["hidden_size"] == 64
    assert config.origins["rms_norm_eps"] == "default of LlamaConfig"
    assert config.source == f"{path} (config format mine)"


def test_what_a_parser_gives_goes_through_the_same_stages(tmp_path):
    path, file = mine(tmp_path, rope={"type": "spiral"})

    with pytest.raises(ConfigError, match=r"config format mine"):
        read(path, config_parser_file=file)

    path, file = mine(tmp_path / "again")
    config = read(path, config_parser_file=file, hf_overrides={"rope_theta": 5e5})
    assert config.values["rope_parameters"]["rope_theta"] == 5e5


def test_of_several_parsers_in_a_file_one_has_to_be_named(tmp_path):
    path, _ = mine(tmp_path)
    both = tmp_path / "both.py"
    both.write_text(PARSER.format(name="one") + PARSER.format(name="two"))

    with pytest.raises(ConfigError, match=r"config_format = 'auto': expected one of one, two"):
        read(path, config_parser_file=str(both))
    assert read(path, config_parser_file=str(both), config_format="two").values["hidden_size"] == 32


@pytest.mark.parametrize(("text", "said"), [("x = 1", "@register_config_parser"), ("1 / 0", "ZeroDivisionError"),
                                            (None, "does not exist")])
def test_a_parser_file_that_is_no_use_is_an_error_that_says_why(tmp_path, text, said):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)

    with pytest.raises(ConfigError, match=r"^config_parser_file = ") as caught:
        read(write_model(tmp_path / "m"), config_parser_file=str(tmp_path / "mine.py"))

    assert said in str(caught.value)


def test_a_parser_that_fails_is_an_error_that_names_it_and_the_model(tmp_path):
    path, file = mine(tmp_path)
    (path / "mine.json").write_text("{}")

    with pytest.raises(ConfigError, match=r"config_format = 'mine'.*KeyError: 'width'"):
        read(path, config_parser_file=file)


def test_get_config_takes_a_registered_parser_too(tmp_path):
    path, file = mine(tmp_path, rope={"type": "linear", "factor": 2.0})
    parsers.parsers_of_file(file)

    config = get_config(path, False, config_format="mine", hf_overrides_kw={"hidden_size": 128})

    assert config.hidden_size == 128
    assert config.rope_parameters["rope_type"] == "linear"


def test_a_directory_is_listed_without_the_network(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket", lambda *a, **k: pytest.fail("opened a socket"))

    assert choose_format(write_model(tmp_path))[0] == "hf"


def test_a_plain_config_needs_neither_transformers_nor_torch(tmp_path):
    code = ("import sys; from pathlib import Path; from weft.config.engine_args import EngineArgs as A; "
            "from weft.resolve.engine_config import resolve_model; from weft.resolve.files import find_model; "
            "from weft.models.describe import describe; from weft.architectures.registry import families; "
            "a = A(model=sys.argv[1]); model = resolve_model(a, find_model(a)); "
            "describe(model, families()[model.hf_config['architectures'][0]]); "
            "print([m for m in ('torch', 'transformers') if m in sys.modules])")

    out = subprocess.run([sys.executable, "-c", code, write_model(tmp_path)], capture_output=True, text=True,
                         check=True)

    assert out.stdout.strip() == "[]"


def test_the_config_may_come_from_another_directory(tmp_path):
    weights, other = write_model(tmp_path / "w"), write_model(tmp_path / "c", hidden_size=64)

    config = read(weights, hf_config_path=str(other))

    assert config.values["hidden_size"] == 64
    assert config.source == str(other / "config.json")
    with pytest.raises(ConfigError, match=r"^hf_config_path = "):
        read(weights, hf_config_path=str(tmp_path / "nowhere"))


# A function as hf_overrides


def test_a_function_may_change_the_config_and_only_its_changes_count(tmp_path):
    def change(config):
        config.hidden_size = 64
        config.rope_parameters = {"rope_type": "default", "rope_theta": 5e5}
        return config

    config = read(write_model(tmp_path), hf_overrides=change)

    assert config.values.keys() == CONFIG.keys() | {"rope_parameters"}
    assert (config.values["hidden_size"], config.values["rope_parameters"]["rope_theta"]) == (64, 5e5)
    assert config.origins["hidden_size"] == "override"


def test_a_function_may_switch_the_model_type(tmp_path):
    def switch(config):
        config.model_type = "chatglm"
        return config

    config = read(write_model(tmp_path, num_layers=3, without=["num_hidden_layers"]), hf_overrides=switch)

    assert config.values["num_hidden_layers"] == 3


def test_a_function_works_on_a_config_that_nobody_has_a_class_for(tmp_path):
    def change(config):
        config.hidden_size *= 2
        return config

    config = read(write_model(tmp_path, model_type="never-heard"), hf_overrides=change)

    assert config.values["hidden_size"] == 64


@pytest.mark.parametrize(("function", "said"), [
    (lambda config: None, "It returned NoneType"), (lambda config: 1 / 0, "ZeroDivisionError")])
def test_a_function_that_gives_no_config_is_an_error(tmp_path, function, said):
    with pytest.raises(ConfigError, match="hf_overrides = ") as caught:
        read(write_model(tmp_path), hf_overrides=function)

    assert said in str(caught.value)


# Trusted code of the checkpoint


def test_trusted_code_gives_its_defaults_and_code_that_fails_is_left_out_with_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = write_model(tmp_path / "m", model_type="mine", auto_map={"AutoConfig": "configuration_mine.Mine"}, width=8)
    code = "from transformers import PretrainedConfig\nclass Mine(PretrainedConfig):\n    model_type = 'mine'\n" \
           "    attribute_map = {'embedding_size': 'width'}\n    def __init__(self, extra=7, **kwargs):\n" \
           "        self.extra = extra\n        super().__init__(**kwargs)\n"
    (path / "configuration_mine.py").write_text(code)

    config = read(path, trust_remote_code=True)
    assert (config.values["extra"], config.origins["extra"]) == (7, "default of Mine")
    assert config.values["embedding_size"] == 8
    assert "extra" not in read(path).values

    (path / "configuration_mine.py").write_text("import no_such_module\n")
    assert "extra" not in read(path, trust_remote_code=True).values
    assert "the checkpoint's config class is not used" in caplog.text

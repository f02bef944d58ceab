"""Plugins are functions of installed packages: all run, or those that are named; one that fails stops nothing."""

import logging
import os
import re
import sys

import pytest
from model_dir import write_model
from toy_engine import CORE, make_config

from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.process.process_client import ProcessClient
from weft.engine.process.spare import Spare
from weft.errors import NotBuiltError
from weft.extend.plugins import load_plugins
from weft.resolve import parsers
from weft.resolve.engine_config import resolve_engine_config

PLUGINS = """
import os
from pathlib import Path

ran = []


def good():
    ran.append("good")
    Path(__file__).with_name(f"ran-in-{os.getpid()}").touch()


def other():
    from weft.resolve import ConfigParserBase, register_config_parser
    from transformers import LlamaConfig

    ran.append("other")

    @register_config_parser("of-plugin")
    class Parser(ConfigParserBase):
        def parse(self, model, trust_remote_code, revision=None, code_revision=None, **kwargs):
            values = {"architectures": ["LlamaForCausalLM"], "hidden_size": 48, "num_attention_heads": 4}
            return values, LlamaConfig(**values)


def bad():
    1 / 0
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with three plugins, as pip leaves one."""
    monkeypatch.setattr(parsers, "_CONFIG_FORMAT_TO_CONFIG_PARSER", dict(parsers._CONFIG_FORMAT_TO_CONFIG_PARSER))
    (tmp_path / "some_plugin.py").write_text(PLUGINS)
    info = tmp_path / "some_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[weft.plugins]\ngood = some_plugin:good\nbad = some_plugin:bad\nother = some_plugin:other\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda: sys.modules["some_plugin"].ran
    sys.modules.pop("some_plugin", None)


def test_all_plugins_run_and_one_that_fails_is_logged(installed, caplog):
    with caplog.at_level(logging.INFO, logger="weft"):
        assert load_plugins(None) == ("good", "other")

    assert installed() == ["good", "other"]
    [error] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    line = PLUGINS[:PLUGINS.index("1 / 0")].count("\n") + 1
    assert error == ("plugin bad (some_plugin:bad) failed and is left out: ZeroDivisionError: division by zero "
                     f"({sys.modules['some_plugin'].__file__}, line {line})")


def test_a_plugin_that_breaks_on_import_is_one_error_and_the_others_load(installed, tmp_path, caplog):
    (tmp_path / "broken_plugin.py").write_text("import no_such_module\n")
    entries = tmp_path / "some_plugin-1.0.dist-info" / "entry_points.txt"
    entries.write_text(entries.read_text() + "broken = broken_plugin:register\nleaves = broken_plugin.gone:register\n")

    assert load_plugins(None) == ("good", "other")

    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 3
    assert re.search(r"plugin broken \(broken_plugin:register\) .*No module named 'no_such_module' \(.*, line 1\)$",
                     errors[1])


def test_a_plugin_may_do_its_work_when_it_is_imported(installed, tmp_path):
    (tmp_path / "at_import.py").write_text("import some_plugin\nsome_plugin.ran.append('at import')\n")
    entries = tmp_path / "some_plugin-1.0.dist-info" / "entry_points.txt"
    entries.write_text(entries.read_text() + "module = at_import\n")

    assert load_plugins(("module",)) == ("module",)
    assert installed() == ["at import"]
    del sys.modules["at_import"]


def test_only_the_named_ones_run_in_their_order_and_an_unknown_name_is_logged(installed, caplog):
    assert load_plugins(("other", "nobody", "good")) == ("other", "good")
    assert load_plugins(()) == ()

    assert installed() == ["other", "good"]
    assert "plugin nobody is not installed; there are: bad, good, other" in caplog.text


def test_a_processor_of_inputs_and_outputs_is_not_run_and_said_once(installed, tmp_path, caplog):
    entries = tmp_path / "some_plugin-1.0.dist-info" / "entry_points.txt"
    entries.write_text("[vllm.io_processor_plugins]\nprithvi = some_plugin:good\nother = some_plugin:other\n")
    args = EngineArgs(model=str(write_model(tmp_path / "m")), plugins=["prithvi"], skip_tokenizer_init=True)

    resolve_engine_config(args, Machine.detect())

    said = [record.getMessage() for record in caplog.records if "vllm.io_processor_plugins" in record.getMessage()]
    assert said == ["plugin prithvi (some_plugin:good) is not used: processors of inputs and outputs of pooling models "
                    "(vllm.io_processor_plugins) are not built yet"]
    assert "some_plugin" not in sys.modules


def test_choosing_a_processor_of_inputs_and_outputs_is_refused():
    with pytest.raises(NotBuiltError, match="io_processor_plugin"):
        EngineArgs(model="m", io_processor_plugin="prithvi")


def test_a_parser_of_a_plugin_is_used_by_its_name(installed, tmp_path):
    args = EngineArgs(model=str(write_model(tmp_path / "m")), config_format="of-plugin", skip_tokenizer_init=True)

    config = resolve_engine_config(args, Machine.detect())

    assert config.model.hf_config["hidden_size"] == 48
    assert config.model.origins["rms_norm_eps"] == "default of LlamaConfig"


def test_plugins_run_in_the_engines_process_too(installed, tmp_path):
    client = ProcessClient(make_config(None), lambda event: None, Spare(CORE))
    client.close()

    assert [path.name for path in tmp_path.glob("ran-in-*")] != []
    assert not (tmp_path / f"ran-in-{os.getpid()}").exists()

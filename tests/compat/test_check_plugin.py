"""`weft models --check-plugin` lists what a file needs of vLLM, without running it."""

import json

import pytest

from weft.cli.main import main
from weft.compat.vllm.check import check_plugin
from weft.errors import ConfigError

CODE = """
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.mamba.abstract import MambaBase as Info
from vllm.lora.ops import bgmv
from vllm.nowhere import RMSNormm
raise SystemExit("this file must not run")
"""


def write(tmp_path, code=CODE):
    path = tmp_path / "plugin.py"
    path.write_text(code)
    return path


def test_each_name_with_its_line_and_state(tmp_path):
    path = write(tmp_path)

    needs = check_plugin(str(path))

    assert [(need.line, need.name.rpartition(".")[2], need.state) for need in needs] == [
        (2, "RMSNorm", "real"), (3, "MambaBase", "may be subclassed"), (4, "bgmv", "refused when used"),
        (5, "RMSNormm", "unknown")]
    assert "states" in needs[1].note
    assert needs[3].note.endswith(":RMSNorm")
    assert not any(need.stops for need in needs)
    assert check_plugin(str(tmp_path)) == needs


@pytest.mark.parametrize(("use", "stops"), [
    ("class A(Info): pass", []), ("class A(RMSNormm): pass", ["RMSNormm"]), ("x = bgmv()", ["bgmv"]),
    ("x = Info.make()", ["MambaBase"]), ("@bgmv\ndef f(): pass", ["bgmv"]),
    ("def f(x: RMSNormm) -> bgmv:\n    return bgmv(x)", []), ("class A(RMSNorm): x = RMSNorm(8)", []),
])
def test_what_is_called_or_subclassed_at_import_stops_it(tmp_path, use, stops):
    needs = check_plugin(str(write(tmp_path, f"{CODE}\n{use}\n")))

    assert [need.name.rpartition(".")[2] for need in needs if need.stops] == stops


def test_a_name_that_the_file_has_a_substitute_for_stops_nothing(tmp_path):
    code = "try:\n    from vllm.nowhere import f\nexcept ImportError:\n    f = print\nf()\n"

    assert [need.stops for need in check_plugin(str(write(tmp_path, code)))] == [False]


@pytest.mark.parametrize(("code", "wanted"), [
    ("import vllm.lora.ops\nvllm.lora.ops.bgmv()", [(2, "vllm.lora.ops.bgmv", "refused when used", True)]),
    ("import vllm.lora.ops as ops\ndef f(): return ops.bgmv()",
     [(2, "vllm.lora.ops.bgmv", "refused when used", False)]),
    ("import vllm\nclass A(vllm.LLM): pass", [(2, "vllm.LLM", "real", False)]),
    ("import vllm\nvllm.model_executor.layers.layernorm.RMSNorm(8).weight.data\nvllm.envs.VLLM_USE_V1",
     [(2, "vllm.model_executor.layers.layernorm.RMSNorm", "real", False), (3, "vllm.envs.VLLM_USE_V1", "real", False)]),
    ("from vllm.model_executor.layers import layernorm as norms\nx: norms.RMSNormm = norms.RMSNorm(8)",
     [(1, "vllm.model_executor.layers.layernorm", "real", False),
      (2, "vllm.model_executor.layers.layernorm.RMSNormm", "unknown", False),
      (2, "vllm.model_executor.layers.layernorm.RMSNorm", "real", False)]),
    ("import vllm.v1.worker.gpu_model_runner as r\nclass A(r.GPUModelRunner): pass",
     [(2, "vllm.v1.worker.gpu_model_runner.GPUModelRunner", "refused when used", True)]),
    ("import vllm.config\nvllm.config.VllmConfig = 3",
     [(2, "vllm.config.VllmConfig", "refused when used", True)]),
    ("import vllm.nowhere.deep", []),
])
def test_names_read_from_a_module_are_needs(tmp_path, code, wanted):
    needs = check_plugin(str(write(tmp_path, code)))

    assert [(need.line, need.name, need.state, need.stops) for need in needs] == wanted


def test_all_names_of_a_module_are_told_by_those_that_the_file_uses(tmp_path):
    code = "from vllm.model_executor.models.qwen2 import *\nclass A(Qwen2Model):\n    x, y = torch.ones(1), Nothing\n"

    (need,) = check_plugin(str(write(tmp_path, code)))

    assert (need.name, need.state, need.note, need.stops) == (
        "vllm.model_executor.models.qwen2.*", "real", "used: Qwen2Model, torch", False)


def test_all_names_of_a_module_that_weft_does_not_know_stop_the_import(tmp_path):
    (need,) = check_plugin(str(write(tmp_path, "from vllm.lora.ops import *\n")))

    assert (need.name, need.state, need.stops) == ("vllm.lora.ops.*", "refused when used", True)


def test_the_command_ends_with_1_when_the_import_would_fail(tmp_path, capsys):
    assert main(["models", "--check-plugin", str(write(tmp_path))]) == 0
    assert "refused when used" in capsys.readouterr().out
    assert main(["models", "--json", "--check-plugin", str(write(tmp_path, f"{CODE}\nx = bgmv()\n"))]) == 1
    assert [need["line"] for need in json.loads(capsys.readouterr().out)] == [2, 3, 4, 5]


def test_a_package_is_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "checked_plugin").mkdir()
    (tmp_path / "checked_plugin" / "__init__.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert len(check_plugin("checked_plugin")) == 4


@pytest.mark.parametrize("place", ["no_such_package", "no/such/file.py"])
def test_what_is_not_there_is_an_error(place):
    with pytest.raises(ConfigError, match="--check-plugin"):
        check_plugin(place)

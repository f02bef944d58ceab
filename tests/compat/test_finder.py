"""`import vllm…` in a model file or plugin gives weft's objects, there only; every other name is a placeholder."""

import importlib
import subprocess
import sys

import pytest

import weft
from weft.compat.vllm.finder import answering
from weft.compat.vllm.version import ANSWER
from weft.errors import ConfigError, NotBuiltError
from weft.extend.python_file import load_python_file
from weft.models.vllm.layers import RMSNorm


@pytest.fixture
def load(tmp_path):
    """Runs code as a model file, with the module as the result."""
    def loaded(code, name="model.py"):
        path = tmp_path / name
        path.write_text(code)
        return load_python_file(path, field="model_file")

    return loaded


@pytest.fixture
def answer():
    """The process's answer, put back afterwards."""
    before = ANSWER.version, ANSWER.source
    yield ANSWER
    ANSWER.choose(*before)


def test_names_of_a_model_file_are_wefts_objects(load):
    module = load("""
import vllm
import vllm.model_executor.layers.layernorm as norms
from vllm import LLM, SamplingParams as Params
from vllm.model_executor.layers.layernorm import RMSNorm
""")

    assert (module.LLM, module.Params, module.RMSNorm) == (weft.LLM, weft.SamplingParams, RMSNorm)
    assert module.norms.RMSNorm is module.vllm.model_executor.layers.layernorm.RMSNorm is RMSNorm


def test_imports_in_functions_work_after_loading(load):
    module = load("""
def norm():
    from vllm.model_executor.layers.layernorm import RMSNorm
    return RMSNorm
""")

    assert module.norm() is RMSNorm


def test_star_gives_the_names_of_the_table(load):
    module = load("from vllm.model_executor.layers.layernorm import *")

    assert module.RMSNorm is RMSNorm and hasattr(module, "GemmaRMSNorm")


def test_star_from_a_module_without_names_is_an_error(load):
    with pytest.raises(ConfigError, match=r"vllm\.v1\.worker\.utils\.\*"):
        load("from vllm.v1.worker.utils import *")


def test_packages_that_are_imported_meanwhile_see_the_modules_too(tmp_path, monkeypatch):
    (tmp_path / "my_plugin_of_vllm").mkdir()
    (tmp_path / "my_plugin_of_vllm" / "__init__.py").write_text("from my_plugin_of_vllm.model import norm\n")
    (tmp_path / "my_plugin_of_vllm" / "model.py").write_text(
        "import importlib\nconfig = importlib.import_module('vllm.config')\n"
        "def norm():\n    from vllm.model_executor.layers.layernorm import RMSNorm\n    return RMSNorm\n")
    monkeypatch.syspath_prepend(tmp_path)

    with answering():
        module = importlib.import_module("my_plugin_of_vllm")

    assert module.norm() is RMSNorm


def test_nothing_else_in_the_process_sees_them(load):
    load("import vllm.config")

    with answering():
        assert importlib.import_module("vllm.config").__name__ == "vllm.config"
    assert not [name for name in sys.modules if name.split(".")[0] == "vllm"]
    with pytest.raises(ImportError):
        import vllm  # noqa: F401


def test_the_version_can_be_chosen(load, answer):
    answer.choose("0.8.5", "auto")

    module = load("import vllm\nfrom vllm import __version__\nfrom vllm.version import __version_tuple__ as parts")

    assert module.vllm.__version__ == module.__version__ == "0.8.5"
    assert module.parts == (0, 8, 5)


def test_an_installed_vllm_is_used_unless_wefts_is_chosen(tmp_path, monkeypatch, answer, caplog):
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("__version__ = 'real'\n")
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "model.py"
    file.write_text("import vllm\nversion = vllm.__version__\n")

    try:
        assert load_python_file(file, field="model_file").version == "real"
        assert "vllm_modules" in caplog.text
        answer.choose("0.32.0", "weft")
        assert load_python_file(file, field="model_file").version == "0.32.0"
        assert sys.modules["vllm"].__version__ == "real"
    finally:
        del sys.modules["vllm"]


def test_importing_weft_answers_nothing():
    code = "import weft, weft.llm\ntry:\n    import vllm\nexcept ImportError:\n    print('none')"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout == "none\n"


def test_a_placeholder_annotates_and_is_nobodys_class(load):
    module = load("""
from typing import Optional, Union
from vllm.v1.worker.gpu_model_runner import GPUModelRunner
from vllm.made.up import Thing
def f(a: GPUModelRunner | None, b: Optional[Thing], c: Union[int, Thing], d: list[Thing], e: Thing[int],
      f: None | Thing = None, kind=Thing.KIND) -> Thing:
    return isinstance(a, Thing) or isinstance(a, (int, GPUModelRunner)) or issubclass(list, Thing)
""")

    assert module.f("x", 1, 2, 3, 4) is False


@pytest.mark.parametrize(("use", "action"), [
    ("Thing(3)", "called"), ("Thing.make()", "called"), ("class Mine(Thing): pass", "subclassed"),
    ("Thing.method = print", "patched"), ("Thing['a'] = 1", "patched"), ("list(Thing)", "iterated over"),
    ("@Thing\ndef f(): pass", "called"),
])
def test_using_a_placeholder_names_it_and_both_lines(load, tmp_path, use, action):
    with pytest.raises(ConfigError) as error:
        load(f"from vllm.made.up import Thing\n\n{use}\n")

    cause = error.value.__cause__
    assert isinstance(cause, NotBuiltError) and isinstance(cause, NotImplementedError)
    assert cause.field.startswith("vllm.made.up.Thing")
    assert f"= '{action}' (in {tmp_path / 'model.py'}:3, imported at {tmp_path / 'model.py'}:1)" in str(cause)


def test_a_placeholder_says_why_and_what_is_near(load):
    module = load("from vllm.model_executor.layers.fla.ops import RMSNorms\ndef use(): RMSNorms()")

    with pytest.raises(NotBuiltError, match=r"kernel for GPUs.*Nearest: weft\.models\.vllm\.layers:RMSNorm"):
        module.use()


def test_patching_a_module_of_vllm_is_refused(load):
    with pytest.raises(ConfigError, match=r"vllm\.model_executor\.layers\.layernorm\.RMSNorm.*would do nothing"):
        load("import vllm.model_executor.layers.layernorm as norms\nnorms.RMSNorm = object")


def test_a_file_with_a_substitute_gets_an_import_error(load):
    module = load("""
try:
    from vllm.made.up import RMSNorm, Thing
except ImportError:
    from vllm.model_executor.layers.layernorm import RMSNorm
    Thing = None
try:
    from vllm.made.up import Other
    HAS_VLLM = True
except ImportError:
    HAS_VLLM = False
""")

    assert module.RMSNorm is RMSNorm and module.Thing is None
    assert module.HAS_VLLM and repr(module.Other) == "<placeholder for vllm.made.up.Other>"

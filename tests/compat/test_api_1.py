"""What an author wrote against MODEL_API 1 runs unchanged: a plugin, installed as pip leaves one, and a model file."""

import asyncio
import hashlib
import logging
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from engine_answers import answer_here, answer_of_another_process
from tiny_llama import make_checkpoint

from weft import ModelRegistry, SamplingParams
from weft.extend import model_api
from weft.extend.plugins import load_plugins

FOLDER = Path(__file__).parent / "api_1"
# sha256 over names and contents of the files: they are what others wrote, so they never change.
FROZEN = "b91532d8f6c120904996dcdba383c61c3a23bde35ab887b5508ddff5e1fb74ba"
PROMPT = {"prompt_token_ids": [5, 9, 17, 3, 40]}
OPTIONS = {"dtype": "float32", "max_model_len": 64, "use_tqdm_on_load": False, "num_threads": 1}
PARAMS = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
SCRIPT = """
import multiprocessing
import sys

method, directory, *path = sys.argv[1:]
sys.path[:] = path


def run(answers):
    from weft import LLM, SamplingParams

    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    with LLM(model=directory, dtype="float32", max_model_len=64, use_tqdm_on_load=False, num_threads=1) as llm:
        [output] = llm.generate({"prompt_token_ids": [5, 9, 17, 3, 40]}, params, use_tqdm=False)
    answers.put(list(output.outputs[0].token_ids))


if __name__ == "__main__":
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    process = context.Process(target=run, args=(answers,))
    process.start()
    print(answers.get(timeout=200))
    process.join()
"""
ARCHITECTURES = ("ExampleLlamaForCausalLM", "LazyExampleForCausalLM", "DescribedExampleForCausalLM")


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The package and the metadata that pip would write from its pyproject.toml, in a folder of sys.path."""
    source = FOLDER / "example_plugin"
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    shutil.copytree(source / "weft_example", tmp_path / "weft_example")
    info = tmp_path / "weft_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text("".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(ModelRegistry, "models", {})
    yield tmp_path / "weft_example"
    for name in [name for name in sys.modules if name.split(".")[0] == "weft_example"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    return answer(make_checkpoint(tmp_path_factory.mktemp("llama")))


def answer(directory, **options):
    return answer_here(directory, PROMPT, PARAMS, **OPTIONS, **options)


def test_the_files_are_as_they_were():
    digest = hashlib.sha256()
    for path in sorted(path for path in FOLDER.rglob("*") if path.suffix in (".py", ".toml")):
        digest.update(path.relative_to(FOLDER).as_posix().encode() + path.read_bytes())

    assert digest.hexdigest() == FROZEN


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_models_of_the_plugin_run_where_a_config_names_them(plugin, tmp_path, wanted, name):
    assert answer(make_checkpoint(tmp_path / "model", architectures=[name])) == wanted


def test_and_in_the_engines_process(plugin, tmp_path, wanted):
    directory = make_checkpoint(tmp_path / "model", architectures=["ExampleLlamaForCausalLM"])

    assert asyncio.run(answer_of_another_process(directory, PROMPT, PARAMS, **OPTIONS)) == wanted


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_and_in_a_process_that_python_forked_or_spawned(plugin, tmp_path, wanted, method):
    directory = make_checkpoint(tmp_path / "model", architectures=["LazyExampleForCausalLM"])
    (tmp_path / "script.py").write_text(SCRIPT)

    said = subprocess.run([sys.executable, str(tmp_path / "script.py"), method, str(directory), *sys.path],
                          capture_output=True, text=True, timeout=240, check=True).stdout

    assert said.splitlines()[-1] == str(wanted)


def test_the_model_file_runs(tmp_path, wanted):
    assert answer(make_checkpoint(tmp_path / "model"), model_file=str(FOLDER / "model_file.py")) == wanted


def test_a_weft_that_no_longer_supports_version_1_refuses_the_plugin_with_what_changed(plugin, monkeypatch, caplog):
    monkeypatch.setattr(model_api, "MODEL_API", 2)
    monkeypatch.setattr(model_api, "SUPPORTED", (2,))
    monkeypatch.setattr(model_api, "CHANGES", {1: "the first", 2: "forward takes a step"})

    with caplog.at_level(logging.ERROR, logger="weft"):
        assert load_plugins(None) == ()

    assert "plugin example (weft_example:register) failed and is left out: ConfigError: requires_model" in caplog.text
    assert "2: forward takes a step" in caplog.text and ModelRegistry.models == {}

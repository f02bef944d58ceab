"""What the README and docs/ say is so: their Python runs, their commands parse, their links lead somewhere."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import programmed_llama
import pytest
import torch
from http_server import running_server
from safetensors.torch import load_file, save_file
from tiny_encoder_decoders import write_pair
from tiny_encoders import write_encoder
from tiny_llama import LAYERS, make_checkpoint
from toy_engine import save_tokenizer

import weft.embedded
from weft import LLM, AsyncLLM, EngineArgs, ModelRegistry, SamplingParams
from weft.cli.main import COMMANDS, build_parser
from weft.cli.parser import spelled
from weft.server.options import ServerOptions

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TOOLS = ("pip", "python", "ruff", "basedpyright", "clang-format", "cmake", "docker", "sudo",
         "journalctl")      # besides weft and this folder
GREEDY = SamplingParams(temperature=0, max_tokens=5)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def block_with(page: str, text: str) -> str:
    """The one Python block of a page that has this text."""
    [found] = [block for block in blocks(page, "python") if text in block]
    return found


def run(source: str) -> None:
    exec(compile(source, "example", "exec"), {"__name__": "example"})


def commands(page: Path) -> list[str]:
    """The command lines of a page's console blocks."""
    lines = [line for block in blocks(str(page), "console") for line in block.splitlines() if line.startswith("$ ")]
    return [part.strip() for line in lines for part in line[2:].partition("#")[0].split("&&")]


@pytest.fixture(scope="module")
def biased_model(tmp_path_factory) -> Path:
    """A tiny Llama with biases of q, k and v, all zero: what docs/adding-a-model.md describes."""
    directory = make_checkpoint(tmp_path_factory.mktemp("biased"), architectures=["MyForCausalLM"])
    state = load_file(directory / "model.safetensors")
    for i in range(LAYERS):
        for name in "qkv":
            stem = f"model.layers.{i}.self_attn.{name}_proj"
            state[f"{stem}.bias"] = state[f"{stem}.weight"].new_zeros(len(state[f"{stem}.weight"]))
    save_file(state, directory / "model.safetensors")
    return directory


def test_the_first_python_example_runs_and_adds_up(capsys):
    run(block_with("README.md", "from weft import LLM, SamplingParams"))

    said = capsys.readouterr().out
    assert said.startswith("Once upon a time -> ")
    assert "85" in said.splitlines()[-1]


@pytest.mark.parametrize(("page", "text"), [("README.md", "from openai import OpenAI"),
                                            ("docs/guide.md", "import anthropic")])
def test_a_clients_example_tells_a_story(page, text, capsys):
    source = block_with(page, text)
    engine = AsyncLLM.from_engine_args(EngineArgs(use_tqdm_on_load=False))
    try:
        with running_server(engine, ServerOptions()) as url:
            assert "http://127.0.0.1:8000" in source
            run(source.replace("http://127.0.0.1:8000", url))
    finally:
        engine.shutdown()

    assert "fox" in capsys.readouterr().out


def test_several_models_in_one_script(tmp_path, capsys):
    source = block_with("docs/guide.md", "path/to/one")
    tiny = make_checkpoint(tmp_path / "tiny")

    run(source.replace("path/to/one", str(tiny)).replace("path/to/another", str(weft.embedded.path())))

    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_a_prompt_as_embeddings_is_answered_as_its_text(tmp_path, capsys):
    source = block_with("docs/guide.md", "get_input_embeddings").replace("path/to/model", str(weft.embedded.path()))

    run(source)

    with LLM(use_tqdm_on_load=False) as llm:
        text = llm.generate("Once upon a time", use_tqdm=False)[0].outputs[0].text
    assert capsys.readouterr().out == text + "\n"


def test_the_embedded_model_accepts_drafts(capsys):
    run(block_with("docs/guide.md", "speculative_config"))

    accepted = capsys.readouterr().out.rpartition("[")[2].strip(" ]\n").split(", ")
    assert len(accepted) == 5 and int(accepted[0]) > 0


def test_a_logits_processor_favours_the_token_that_a_request_names(capsys):
    run(block_with("docs/guide.md", "class Favour"))

    assert capsys.readouterr().out == "[42, 42, 42]\n"


def test_an_encoder_turns_texts_into_numbers(tmp_path, capsys):
    write_encoder(tmp_path)
    save_tokenizer(tmp_path)

    run(block_with("docs/guide.md", "path/to/encoder").replace("path/to/encoder", str(tmp_path)))

    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[:2]] == ["64", "64"]
    assert said[2] == "torch.Size([5, 64])"


def test_an_encoder_reads_and_a_decoder_answers(tmp_path, capsys):
    write_pair(tmp_path, "t5")
    save_tokenizer(tmp_path)

    run(block_with("docs/guide.md", "path/to/t5").replace("path/to/t5", str(tmp_path)))

    assert capsys.readouterr().out.startswith("translate English to German: a fox [")


def test_the_model_file_describes_a_model_that_runs(biased_model, tmp_path):
    file = tmp_path / "my_arch.py"
    file.write_text(block_with("docs/adding-a-model.md", '@architecture("MyForCausalLM"'))
    llama = make_checkpoint(tmp_path / "llama")

    with LLM(model=str(biased_model), model_file=str(file), use_tqdm_on_load=False) as llm:
        mine = llm.generate("abc", GREEDY, use_tqdm=False)[0].outputs[0].token_ids
    with LLM(model=str(llama), use_tqdm_on_load=False) as llm:
        assert llm.generate("abc", GREEDY, use_tqdm=False)[0].outputs[0].token_ids == mine

    inspect = [sys.executable, "-m", "weft.cli.main", "inspect", biased_model, "--model-file", file]
    assert "qkv bias" in subprocess.run(inspect, capture_output=True, text=True, check=True).stdout


def test_the_proof_of_the_model_file_passes(tmp_path):
    file = tmp_path / "my_arch.py"
    file.write_text(block_with("docs/adding-a-model.md", '@architecture("MyForCausalLM"'))
    names: dict = {}
    exec(block_with("docs/adding-a-model.md", "check_model(str(tmp_path)"), names)

    names["test_my_model_computes_what_transformers_does"](tmp_path / "made", str(file))

    file.write_text(file.read_text().replace("qkv_bias=True", "qkv_bias=True, scale=0.2"))
    with pytest.raises(AssertionError, match="scale"):
        names["test_my_model_computes_what_transformers_does"](tmp_path / "again", str(file))


def test_a_part_of_ones_own_runs_from_the_file_of_its_model(tmp_path):
    file = tmp_path / "my_gated.py"
    file.write_text(block_with("docs/adding-a-model.md", "register_part(GatedAttention"))
    llama = make_checkpoint(tmp_path / "llama")
    gated = make_checkpoint(tmp_path / "gated", architectures=["GatedForCausalLM"])
    state = load_file(gated / "model.safetensors")
    for i in range(LAYERS):      # gates of sigmoid(0) = 1/2, and products out that are doubled
        stem = f"model.layers.{i}.self_attn"
        state |= {f"{stem}.o_proj.weight": 2 * state[f"{stem}.o_proj.weight"],
                  f"{stem}.gate_proj.weight": torch.zeros(32, 32)}
    save_file(state, gated / "model.safetensors")

    with LLM(model=str(gated), model_file=str(file), use_tqdm_on_load=False) as llm:
        mine = llm.generate("abc", GREEDY, use_tqdm=False)[0].outputs[0].token_ids
    with LLM(model=str(llama), use_tqdm_on_load=False) as llm:
        assert llm.generate("abc", GREEDY, use_tqdm=False)[0].outputs[0].token_ids == mine


def test_a_file_written_for_vllm_runs_as_it_is(tmp_path):
    file, llama = tmp_path / "my_vllm_llama.py", str(make_checkpoint(tmp_path / "llama"))
    file.write_text(block_with("docs/adding-a-model.md", "from vllm.model_executor"))

    with LLM(model=llama, use_tqdm_on_load=False) as llm:
        wanted = llm.generate("abc", GREEDY, use_tqdm=False)[0].outputs[0].token_ids
    with LLM(model=llama, model_file=str(file), use_tqdm_on_load=False) as llm:
        assert llm.generate("abc", GREEDY, use_tqdm=False)[0].outputs[0].token_ids == wanted


def test_nothing_has_to_be_done_for_a_model_that_transformers_has(tmp_path, capsys):
    source = block_with("docs/adding-a-model.md", 'model_impl="transformers"')

    run(source.replace("path/to/model", str(make_checkpoint(tmp_path / "llama"))))

    assert capsys.readouterr().out


def test_the_page_of_parts_is_what_the_code_says():
    command = [sys.executable, ROOT / "tools" / "make_parts_docs.py", "--check"]

    assert subprocess.run(command, cwd=ROOT).returncode == 0, "run tools/make_parts_docs.py"


def test_the_page_of_the_http_api_is_what_the_code_says():
    command = [sys.executable, ROOT / "tools" / "make_http_docs.py", "--check"]

    assert subprocess.run(command, cwd=ROOT).returncode == 0, "run tools/make_http_docs.py"


def test_a_programmed_model_answers(tmp_path, capsys):
    source = block_with("docs/adding-a-model.md", "from programmed_llama import MyLlama")

    run(source.replace("path/to/llama", str(make_checkpoint(tmp_path / "llama"))))

    assert capsys.readouterr().out


def test_the_parser_file_reads_a_format_of_its_own(tmp_path):
    (tmp_path / "my_parser.py").write_text(block_with("docs/configuration.md", '@register_config_parser("mine")'))
    (tmp_path / "shape.json").write_text('{"width": 64, "depth": 2}')

    inspect = [sys.executable, "-m", "weft.cli.main", "inspect", tmp_path, "--print-config", "--config-parser-file",
               tmp_path / "my_parser.py"]
    out = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout
    assert "config format mine" in out
    assert "default of LlamaConfig" in out


def test_a_function_of_the_config_is_an_override(capsys):
    run(block_with("docs/configuration.md", "def longer(config)"))

    assert capsys.readouterr().out.strip()


def test_the_guides_structured_answer_follows_its_form(capsys):
    run(block_with("docs/guide.md", "StructuredOutputsParams("))

    assert set(json.loads(capsys.readouterr().out)) == {"name", "age"}


@pytest.fixture
def my_llama(tmp_path, monkeypatch):
    monkeypatch.setattr(ModelRegistry, "models", {})
    return make_checkpoint(tmp_path / "model", architectures=["MyLlamaForCausalLM"])


def test_a_registered_class_runs(my_llama, capsys):
    run(block_with("docs/plugins.md", "LLM(").replace("path/to/my-llama", str(my_llama)))

    assert len(capsys.readouterr().out.splitlines()) >= 1
    assert ModelRegistry.models.keys() == {"MyLlamaForCausalLM"}


def test_the_plugin_is_found_and_its_model_runs(my_llama, tmp_path, monkeypatch):
    [project] = blocks("docs/plugins.md", "toml")
    package, info = tmp_path / "my_models", tmp_path / "my_models-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text(block_with("docs/plugins.md", "def register"))
    shutil.copy(programmed_llama.__file__, package / "llama.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-models\nVersion: 1.0\n")
    entries = tomllib.loads(project)["project"]["entry-points"]["weft.plugins"]
    (info / "entry_points.txt").write_text("[weft.plugins]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    try:
        with LLM(model=str(my_llama), use_tqdm_on_load=False, plugins=["my-models"]) as llm:
            [output] = llm.generate("abc", GREEDY, use_tqdm=False)
            names = llm.apply_model(lambda model: Path(sys.modules[type(model).__module__].__file__).parent.name)
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "my_models"]:
            del sys.modules[name]

    assert len(output.outputs[0].token_ids) == 5 and names == ["my_models"]


def test_every_python_block_is_run_by_a_test_above():
    counts = {str(page.relative_to(ROOT)): len(blocks(str(page), "python")) for page in PAGES}

    assert {page: count for page, count in counts.items() if count} == {
        "README.md": 2, "docs/adding-a-model.md": 6, "docs/configuration.md": 2, "docs/guide.md": 8,
        "docs/media.md": 3,      # by tests/media/test_media_page.py
        "docs/plugins.md": 2, "docs/pooling.md": 8,       # by tests/pooling/test_pooling_page.py, test_http_pairs.py
        "docs/tools.md": 2}      # by tests/server/test_tools_page.py


def test_the_readme_tells_the_test_command_that_ci_runs():
    [told] = [line[2:] for block in blocks("README.md", "console") for line in block.splitlines() if "pytest" in line]

    assert told in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_ones_that_weft_and_this_folder_have(page):
    for command in commands(page):
        program, *arguments = shlex.split(command)
        if program == "weft":
            words = next(n for n in (2, 1) if " ".join(arguments[:n]) in COMMANDS)
            parser = build_parser(" ".join(arguments[:words]))
            assert parser.parse_known_args(spelled(arguments[words:]))[1] == [], command
            continue
        paths = [word for word in (program, *arguments) if word.startswith(("tests/", "tools/", "benchmarks/"))]
        assert all((ROOT / path).exists() for path in paths), command
        assert program in TOOLS or program in paths, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())

    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    named = set(re.findall(r"`([\w./]+/(?:[\w.]+\.py)?)`", page.read_text()))

    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "weft" / name).exists()]

    assert missing == []


def test_a_page_without_the_place_of_a_table_is_an_error():
    with_tables = runpy.run_path(str(ROOT / "tools" / "doc_page.py"))["with_tables"]

    assert with_tables("a\n<!-- x -->\nold\n<!-- end of x -->\nb", {"x": "new\n"}, "page") == (
        "a\n<!-- x -->\n\nnew\n\n<!-- end of x -->\nb")
    with pytest.raises(ValueError, match="page has no place for the table y"):
        with_tables("<!-- x -->\n<!-- end of x -->\n", {"y": ""}, "page")

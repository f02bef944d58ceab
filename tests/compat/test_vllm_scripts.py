"""`python -m weft.compat.vllm SCRIPT`: scripts in vLLM's style run unchanged, with the processes that they start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_llama import make_checkpoint

from weft.compat.vllm.helpers import Counter, load_chat_template, random_uuid
from weft.errors import ConfigError

ROOT = Path(__file__).parents[2]

OFFLINE = """
import vllm
from vllm import LLM, SamplingParams
from vllm.distributed import cleanup_dist_env_and_memory

if __name__ == "__main__":
    llm = LLM(model="some/model", tensor_parallel_size=1, swap_space=4, task="generate", enforce_eager=True,
              disable_log_stats=True, gpu_memory_utilization=0.2, trust_remote_code=True, max_seq_len_to_capture=64)
    params = SamplingParams(temperature=0.0, max_tokens=3, use_beam_search=False, best_of=1)
    outputs = llm.generate(["Hello, my name is", "The future of AI is"], params, use_tqdm=False)
    print([len(output.outputs[0].token_ids) for output in outputs])
    del llm
    cleanup_dist_env_and_memory()
"""
COMMAND_LINE = """
from dataclasses import asdict

from vllm import LLM, EngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser


def create_parser():
    parser = FlexibleArgumentParser()
    EngineArgs.add_cli_args(parser)
    parser.set_defaults(model="some/model")
    group = parser.add_argument_group("Sampling parameters")
    group.add_argument("--max_tokens", type=int)
    return parser


def main(args: dict):
    max_tokens = args.pop("max_tokens")
    engine_args = EngineArgs(**{name: args[name] for name in ("model", "max_model_len", "swap_space", "hf_overrides")})
    llm = LLM(**asdict(engine_args) | {"seed": args["seed"]})
    params = llm.get_default_sampling_params()
    params.max_tokens = max_tokens
    [output] = llm.generate("a", params)
    print(engine_args.max_model_len, args["tensor_parallel_size"], len(output.outputs[0].token_ids))


if __name__ == "__main__":
    main(vars(create_parser().parse_args()))
"""
ENGINE = """
import argparse

from vllm import EngineArgs, LLMEngine, RequestOutput, SamplingParams
from vllm.utils import FlexibleArgumentParser, random_uuid

parser = EngineArgs.add_cli_args(FlexibleArgumentParser(description="a loop of steps"))
engine = LLMEngine.from_engine_args(EngineArgs.from_cli_args(parser.parse_args()))
engine.add_request(random_uuid(), "A robot", SamplingParams(temperature=0.0, logprobs=1, max_tokens=2, ignore_eos=True))
while engine.has_unfinished_requests():
    for output in engine.step():
        if output.finished:
            print(isinstance(output, RequestOutput), len(output.outputs[0].logprobs))
"""
PROCESSES = """
import multiprocessing
import subprocess
import sys

from vllm import SamplingParams


def child(queue):
    from vllm.sampling_params import RequestOutputKind
    queue.put((SamplingParams(n=2).n, RequestOutputKind.DELTA.name))


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    print(queue.get(timeout=100), flush=True)
    process.join()
    code = "import vllm.inputs; from vllm import LLM; print(LLM.__module__)"
    subprocess.run([sys.executable, "-c", code], check=True)
"""
ASYNCHRONOUS = """
import asyncio

from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM


async def main():
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model="some/model", disable_log_requests=True),
                                       usage_context=UsageContext.LLM_CLASS)
    try:
        count = 0
        params = SamplingParams(max_tokens=4, ignore_eos=True, output_kind=RequestOutputKind.DELTA)
        async for output in engine.generate(request_id="1", prompt="Hello", sampling_params=params):
            count += len(output.outputs[0].token_ids)
        print(count)
    finally:
        engine.shutdown()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Variables for the scripts: their model is a tiny one."""
    directory = make_checkpoint(tmp_path_factory.mktemp("model"))
    redirect = tmp_path_factory.mktemp("redirect") / "redirect.txt"
    redirect.write_text(f"some/model {directory}\n")
    return os.environ | {"VLLM_MODEL_REDIRECT_PATH": str(redirect), "VLLM_CPU_KVCACHE_SPACE": "0.01",
                         "PYTHONPATH": str(ROOT)}


def run(source: str, directory: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    script = directory / "script.py"
    script.write_text(source)
    return subprocess.run([sys.executable, "-m", "weft.compat.vllm", str(script), *arguments],
                          env=environment, capture_output=True, text=True, cwd=directory)


@pytest.mark.parametrize(("source", "arguments", "said"), [
    pytest.param(OFFLINE, (), "[3, 3]", id="offline"),
    pytest.param(COMMAND_LINE, ("--max_tokens", "2", "--max_model_len=64", "--swap-space", "8"), "64 1 2",
                 id="command line"),
    pytest.param(ENGINE, ("--model", "some/model", "--dtype=float32"), "True 2", id="engine"),
    pytest.param(PROCESSES, ("spawn",), "(2, 'DELTA')\nweft.llm", id="spawn"),
    pytest.param(PROCESSES, ("fork",), "(2, 'DELTA')\nweft.llm", id="fork"),
    pytest.param(ASYNCHRONOUS, (), "4", id="asynchronous"),
])
def test_a_script_runs_unchanged(source, arguments, said, tmp_path, environment):
    ended = run(source, tmp_path, environment, *arguments)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == said


def test_what_has_no_effect_is_told_once(tmp_path, environment):
    source = "from vllm import EngineArgs\nfor _ in range(3):\n    EngineArgs(swap_space=16)\n"
    ended = run(source, tmp_path, environment)

    assert ended.stderr.count("swap_space has no effect") == 1


def test_a_script_that_has_a_substitute_for_a_name_uses_it(tmp_path, environment):
    source = """
try:
    from vllm.some.place import helper
except ImportError:
    def helper():
        return "own"
print(helper())
"""
    assert run(source, tmp_path, environment).stdout == "own\n"


def test_a_scripts_neighbours_and_arguments_are_as_python_gives_them(tmp_path, environment):
    (tmp_path / "neighbour.py").write_text("from vllm import __version__ as version\n")

    ended = run("import sys, neighbour\nprint(sys.argv[1:], neighbour.version)\nsys.exit(3)\n", tmp_path, environment,
                "a", "--b")

    assert (ended.returncode, ended.stdout) == (3, "['a', '--b'] 0.32.0\n")


def test_a_module_runs_too(tmp_path, environment):
    (tmp_path / "tool.py").write_text("import sys, vllm\nprint(__name__, sys.argv[1:], vllm.LLM.__module__)\n")

    ended = subprocess.run([sys.executable, "-m", "weft.compat.vllm", "-m", "tool", "x"], cwd=tmp_path,
                           env=environment, capture_output=True, text=True)

    assert ended.stdout == "__main__ ['x'] weft.llm\n", ended.stderr


@pytest.mark.parametrize(("arguments", "status"), [((), 2), (("--help",), 0), (("nothing.py",), 2)])
def test_a_command_line_without_a_script_says_how(arguments, status, tmp_path, environment):
    ended = subprocess.run([sys.executable, "-m", "weft.compat.vllm", *arguments], cwd=tmp_path, env=environment,
                           capture_output=True, text=True)

    assert ended.returncode == status
    assert "usage: python -m weft.compat.vllm" in ended.stdout + ended.stderr


def test_helpers(tmp_path):
    counter = Counter(2)
    (tmp_path / "t.jinja").write_text("{{ x }}")

    assert (next(counter), next(counter)) == (2, 3)
    assert len(random_uuid()) == 32
    assert load_chat_template(tmp_path / "t.jinja") == "{{ x }}"
    assert load_chat_template("{{ y }}") == "{{ y }}"
    assert load_chat_template(None) is None
    with pytest.raises(ConfigError, match="chat_template"):
        load_chat_template("no/such.jinja")

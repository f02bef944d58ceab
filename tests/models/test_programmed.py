"""A programmed model gives the described model's tokens in any company, and faults of its class are told at start."""

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import programmed_llama
import pytest
import torch
from programmed_llama import MyLlama
from safetensors.torch import load_file, save_file
from tiny_llama import make_checkpoint

from weft import LLM, SamplingParams
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.memory.plan import plan_memory
from weft.errors import CheckpointError, ConfigError
from weft.models.build import build_model, layer_context
from weft.resolve.engine_config import resolve_engine_config

FILE = str(Path(programmed_llama.__file__).resolve())
PROMPTS = [{"prompt_token_ids": [1 + i, 7, 9 + 2 * i, 5, 30 + i] * (1 + 2 * i)} for i in range(5)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


def answers(directory, prompts=PROMPTS, max_tokens=12, **options):
    options = {"dtype": "float32", "max_model_len": 128, "use_tqdm_on_load": False, "num_threads": 1} | options
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    with LLM(model=str(directory), **options) as llm:
        return [output.outputs[0].token_ids for output in llm.generate(prompts, params, use_tqdm=False)]


@pytest.fixture(scope="module")
def wanted(directory):
    return answers(directory)


@pytest.mark.parametrize("options", [
    {}, {"max_num_batched_tokens": 7, "max_num_seqs": 3}, {"cpu_isa": "reference"}, {"enable_prefix_caching": False},
    {"kv_cache_memory_bytes": 12 * 16 * 256},
    {"kv_cache_memory_bytes": 1 << 22, "block_size": 32, "cpu_isa": "reference"},
], ids=["in company", "chunked", "reference", "no prefix cache", "preempted", "blocks of 32"])
def test_a_programmed_llama_gives_the_tokens_of_the_described_one(directory, wanted, options):
    assert answers(directory, model_class=MyLlama, **options) == wanted


def test_alone_and_again_from_the_prefix_cache(directory, wanted):
    with LLM(model=str(directory), model_class=MyLlama, dtype="float32", max_model_len=128,
             use_tqdm_on_load=False) as llm:
        params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
        for prompt, tokens in zip(PROMPTS, wanted, strict=True):
            for _ in range(2):
                (output,) = llm.generate(prompt, params, use_tqdm=False)
                assert output.outputs[0].token_ids == tokens
        assert output.num_cached_tokens > 0
        assert llm.apply_model(lambda model: type(model).__name__) == ["MyLlama"]


@pytest.mark.parametrize("option", [
    {"model_class": MyLlama}, {"model_class": f"{MyLlama.__module__}:MyLlama"}, {"model_class": f"{FILE}:MyLlama"},
    {"model_file": f"{FILE}:MyLlama"}, {"model_file": FILE},
], ids=["class", "module:Class", "file:Class", "model_file:Class", "model_file"])
def test_every_way_to_name_the_class(directory, wanted, option):
    assert answers(directory, PROMPTS[:1], **option) == wanted[:1]


@pytest.mark.parametrize("code", [
    Path(FILE).read_text(),
    "from weft.architectures.llama import llama\nfrom weft.architectures.registry import architecture\n"
    "mine = architecture('LlamaForCausalLM')(lambda c: llama(c))\n",
], ids=["programmed", "described"])
def test_a_model_file_runs_once(directory, tmp_path, code):
    (tmp_path / "mine.py").write_text(f"{code}\nopen({str(tmp_path / 'runs')!r}, 'a').write('x')\n")

    answers(directory, PROMPTS[:1], 1, model_file=str(tmp_path / "mine.py"))

    assert (tmp_path / "runs").read_text() == "x"


@pytest.mark.parametrize("quantization", ["int8", "int4", "w8a8"])
def test_quantized_at_load_as_the_described_one(directory, quantization):
    assert (answers(directory, model_class=MyLlama, quantization=quantization)
            == answers(directory, quantization=quantization))


def test_the_server_runs_a_model_file(directory, wanted):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    server = subprocess.Popen([sys.executable, "-m", "weft.cli.main", "serve", str(directory), "--port", url[17:],
                               "--model-file", f"{FILE}:MyLlama", "--dtype", "float32", "--max-model-len", "128"])
    try:
        wait_until_healthy(url, server)
        answer = httpx.post(f"{url}/v1/completions", timeout=60, json={
            "prompt": PROMPTS[2]["prompt_token_ids"], "max_tokens": 12, "temperature": 0, "ignore_eos": True,
            "return_token_ids": True})
    finally:
        server.terminate()
        server.wait(timeout=60)

    assert answer.json()["choices"][0]["token_ids"] == wanted[2]


def wait_until_healthy(url, server):
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(url)


def test_inspect_tells_of_a_programmed_model_without_its_weights(directory, capsys):
    from weft.cli.main import main

    assert main(["inspect", str(directory), "--model-file", f"{FILE}:MyLlama", "--max-model-len", "128"]) == 0
    told = capsys.readouterr().out
    assert "MyLlama, 2 attention layers" in told and "4 heads, 2 kv heads of 8" in told
    assert "Memory plan" in told
    assert main(["inspect", str(directory), "--model-file", f"{FILE}:MyLlama", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][0]["attention"] == "4 heads, 2 kv heads of 8"


def test_a_prompt_may_be_embeddings(directory, wanted):
    options = {"model": str(directory), "model_class": MyLlama, "dtype": "float32", "max_model_len": 128,
               "use_tqdm_on_load": False}
    with LLM(**options, enable_prompt_embeds=True) as llm:
        ids = PROMPTS[1]["prompt_token_ids"]
        [rows] = llm.apply_model(lambda model: model.embed_input_ids(torch.tensor(ids)).clone())
        [output] = llm.generate({"prompt_embeds": rows}, SamplingParams(temperature=0, max_tokens=12, ignore_eos=True),
                                use_tqdm=False)

    assert output.outputs[0].token_ids == wanted[1]


def built(directory, cls, **options):
    args = EngineArgs(model=str(directory), model_class=cls, max_model_len=64, skip_tokenizer_init=True,
                      **({"dtype": "float32"} | options))
    config = resolve_engine_config(args, Machine.detect())
    return config, build_model(config, layer_context(config), None)


@pytest.mark.parametrize("options", [
    {}, {"dtype": "bfloat16"}, {"dtype": "bfloat16", "quantization": "int8"},
    {"dtype": "bfloat16", "cpu_isa": "reference"},
], ids=str)
def test_the_plan_counts_what_a_described_model_of_the_same_layers_holds(directory, options):
    config, programmed = built(directory, MyLlama, **options)
    _, described = built(directory, None, **options)

    assert programmed.weight_bytes() == described.weight_bytes()
    groups = [plan_memory(model, config, Machine.detect()).groups for model in (programmed, described)]
    assert groups[0] == groups[1]


def test_inspect_says_what_is_known_of_it(directory):
    command = [sys.executable, "-m", "weft.cli.main", "inspect", str(directory), "--model-file", FILE]

    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "MyLlama, 2 attention layers" in said
    assert "programmed" in said


def local(**methods):
    return type("Broken", (MyLlama,), methods)


def lacks(name):
    cls = type("Broken", (torch.nn.Module,), {key: value for key, value in vars(MyLlama).items()
                                               if not key.startswith("__") or key == "__init__"})
    delattr(cls, name)
    return cls


@pytest.mark.parametrize("name", ["forward", "compute_logits"])      # models/vllm/generations.py bridges the others
def test_a_missing_method_is_named(directory, name):
    with pytest.raises(ConfigError, match=rf"(?s)model_class.*a method {name}\("):
        built(directory, lacks(name))


@pytest.mark.parametrize(("methods", "text"), [
    ({"__init__": lambda self, settings: None}, r"__init__\(self, \*, vllm_config, prefix\)"),
    ({"forward": lambda self, ids: ids}, r"forward\(self, input_ids, positions, intermediate_tensors"),
    ({"forward": lambda self, ids, positions, batch, inputs_embeds=None, intermediate_tensors=None: ids}, "forward"),
    ({"compute_logits": lambda self: None}, r"compute_logits\(self, hidden_states\)"),
    ({"load_weights": lambda self, weights, more: None}, r"load_weights\(self, weights\)"),
])
def test_another_signature_is_refused_with_the_expected_one(directory, methods, text):
    with pytest.raises(ConfigError, match=text):
        built(directory, local(**methods))


@pytest.mark.parametrize(("model_class", "text"), [
    ("weft.nowhere:Model", "a module that can be imported"), ("json:loads", "a class that is a torch.nn.Module"),
    ("json:Model", "a name that json has"), ("MyLlama", '"module:Name" or "path/file.py:Name"'),
    (dict, "torch.nn.Module"),
])
def test_a_class_that_is_none_is_refused(directory, model_class, text):
    with pytest.raises(ConfigError, match=text):
        built(directory, model_class)


def test_a_model_with_a_cache_of_its_own_is_refused(directory):
    class OwnCache(MyLlama):
        def __init__(self, *, vllm_config, prefix=""):
            super().__init__(vllm_config=vllm_config, prefix=prefix)
            for layer in self.model.layers:
                layer.self_attn.attn = torch.nn.Identity()

    with pytest.raises(ConfigError, match=r"model_class = 'test_.*OwnCache': expected .*Attention layers"):
        built(directory, OwnCache)


@pytest.mark.parametrize(("forward", "text"), [
    (lambda self, *args, **kwargs: MyLlama.forward(self, *args, **kwargs)[:1], r"returned \[1, 32\]"),
    (lambda self, *args, **kwargs: MyLlama.forward(self, *args, **kwargs) * torch.nan, "NaN"),
    (lambda self, *args, **kwargs: MyLlama.forward(self, *args, **kwargs).long(), "returned torch.int64 on cpu"),
    (lambda self, *args, **kwargs: MyLlama.forward(self, *args, **kwargs).to("meta"), "returned torch.float32 on meta"),
    (lambda self, *args, **kwargs: None, "returned NoneType"),
])
def test_a_wrong_result_is_refused_before_a_request_runs(directory, forward, text):
    with pytest.raises(ConfigError, match=rf"model_class.forward.*{text}"):
        answers(directory, model_class=local(forward=forward))


def test_logits_may_be_a_view(directory):
    def compute_logits(self, hidden_states):
        return MyLlama.compute_logits(self, hidden_states).t().contiguous().t()

    params = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True, logprobs=1, prompt_logprobs=1)
    found = []
    for cls in (MyLlama, local(compute_logits=compute_logits)):
        with LLM(model=str(directory), model_class=cls, dtype="float32", max_model_len=128,
                 use_tqdm_on_load=False) as llm:
            found.append([(output.prompt_logprobs, output.outputs[0].logprobs)
                          for output in llm.generate(PROMPTS, params, use_tqdm=False)])

    assert found[0] == found[1] and len(found[0][1][1]) == 4


def raising(self, *args, **kwargs):
    raise ZeroDivisionError("planted")


@pytest.mark.parametrize("method", ["embed_input_ids", "forward", "compute_logits"])
def test_an_exception_in_the_first_step_names_the_method(directory, method):
    with pytest.raises(ConfigError, match=rf"model_class.{method} = 'Broken'.*ZeroDivisionError: planted"):
        answers(directory, model_class=local(**{method: raising}))


def leaving(self, *args, **kwargs):
    sys.exit("planted")


@pytest.mark.parametrize("method", ["__init__", "load_weights", "forward"])
def test_a_model_that_exits_at_start_is_an_error_of_the_class(directory, method):
    def __init__(self, *, vllm_config, prefix=""):
        sys.exit("planted")

    broken = local(**{method: __init__ if method == "__init__" else leaving})
    with pytest.raises((ConfigError, CheckpointError), match=r"Broken.*SystemExit: planted"):
        answers(directory, model_class=broken)


MARK = 77      # a token that none of the answers has


@pytest.mark.parametrize(("method", "broken", "text"), [
    ("forward", lambda x: x[:1], r"model_class.forward = '.*Marked returned \[1, 32\]'"),
    ("forward", lambda x: None, r"model_class.forward = '.*Marked returned NoneType'"),
    ("compute_logits", lambda x: x[:, :7], r"model_class.compute_logits = '.*Marked returned \[1, 7\]'"),
    ("compute_logits", lambda x: torch.cat([x, x]), r"model_class.compute_logits = '.*Marked returned \[2, 259\]'"),
])
def test_a_wrong_result_while_serving_ends_its_request_only(directory, wanted, method, broken, text):
    class Marked(MyLlama):
        def forward(self, input_ids, *args, **kwargs):
            self.is_marked = MARK in input_ids
            hidden = super().forward(input_ids, *args, **kwargs)
            return broken(hidden) if self.is_marked and method == "forward" else hidden

        def compute_logits(self, hidden_states):
            logits = super().compute_logits(hidden_states)
            return broken(logits) if self.is_marked and method == "compute_logits" else logits

    assert MARK not in {token for tokens in wanted for token in tokens}
    prompts = [*PROMPTS[:2], {"prompt_token_ids": [9, 9, MARK]}, *PROMPTS[2:]]
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    with LLM(model=str(directory), model_class=Marked, dtype="float32", max_model_len=128,
             use_tqdm_on_load=False) as llm:
        outputs = llm.generate(prompts, params, use_tqdm=False)

    bad = outputs.pop(2)
    assert bad.outputs[0].finish_reason == "error" and re.search(text, bad.error)
    assert [output.outputs[0].token_ids for output in outputs] == wanted


def test_a_parameter_that_nothing_fills_refuses_the_start(directory):
    def load_weights(self, weights):
        return MyLlama.load_weights(self, ((name, x) for name, x in weights if "o_proj" not in name))

    with pytest.raises(CheckpointError, match=r"filled nothing into model.layers.0.self_attn.o_proj.weight"):
        answers(directory, model_class=local(load_weights=load_weights))


class WithForeign(MyLlama):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.extra = torch.nn.Linear(4, 4)
        torch.nn.init.zeros_(self.extra.weight)


def test_a_foreign_modules_parameter_counts_where_load_weights_says_what_it_filled(directory, wanted):
    def loads_and_says_nothing(self, weights):
        MyLlama.load_weights(self, weights)

    def sets_it(self, weights):
        return MyLlama.load_weights(self, weights) | {"extra.weight", "extra.bias"}

    with pytest.raises(CheckpointError, match=r"filled nothing into extra.weight, extra.bias"):
        answers(directory, model_class=WithForeign)
    for load_weights in (loads_and_says_nothing, sets_it):
        model_class = type("Fine", (WithForeign,), {"load_weights": load_weights})
        assert answers(directory, PROMPTS[:1], model_class=model_class) == wanted[:1]


def test_a_fault_in_load_weights_names_the_tensor(directory):
    def load_weights(self, weights):
        return MyLlama.load_weights(self, ((f"stray.{name}", x) for name, x in weights))

    with pytest.raises(CheckpointError, match=r"load_weights at tensor .*: .*tensor stray\.\S+ has no parameter"):
        answers(directory, model_class=local(load_weights=load_weights))


def with_tensors(directory, path, more):
    """The checkpoint with more tensors."""
    for file in directory.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    save_file(load_file(directory / "model.safetensors") | more, path / "model.safetensors")
    return path


def test_a_tensor_that_nothing_takes_refuses_the_start(directory, tmp_path):
    path = with_tensors(directory, tmp_path, {
        "model.layers.1.mlp.down_proj.bias": torch.ones(32), "model.layers.2.norm.weight": torch.ones(32)})

    def load_weights(self, weights):
        return MyLlama.load_weights(self, ((name, x) for name, x in weights
                                           if not re.search(r"down_proj\.bias|layers\.2\.", name)))

    with pytest.raises(CheckpointError, match=r"took nothing from model\.layers\.1\.mlp\.down_proj\.bias, "
                                              r"model\.layers\.2\.norm\.weight:"):
        answers(path, model_class=local(load_weights=load_weights))


def test_tables_copies_and_whole_parts_may_be_left_out(directory, wanted, tmp_path, caplog):
    path = with_tensors(directory, tmp_path, {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4), "vision.proj.weight": torch.ones(2, 2),
        "vision.proj.bias": torch.ones(2)})

    def load_weights(self, weights):
        return MyLlama.load_weights(self, ((name, x) for name, x in weights
                                           if "inv_freq" not in name and "vision" not in name))

    assert answers(path, model_class=local(load_weights=load_weights)) == wanted
    assert "takes nothing of these parts of the checkpoint: vision" in caplog.text


def test_weights_of_another_model_name_both_shapes(directory, tmp_path):
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"intermediate_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(CheckpointError, match=r"the checkpoint's tensor is \[\d+, \d+\], the model has \[\d+, \d+\]"):
        answers(tmp_path, model_class=MyLlama)


def test_a_class_that_no_other_process_finds_is_refused_where_one_is_needed(directory):
    from weft import AsyncLLM

    class Local(MyLlama):
        pass

    with pytest.raises(ConfigError, match="a class that another process can import"):
        AsyncLLM.from_engine_args(EngineArgs(model=str(directory), model_class=Local))


def test_a_file_with_two_models_asks_which(directory, tmp_path):
    path = tmp_path / "two.py"
    path.write_text(Path(FILE).read_text() + "\n\nclass Other(MyLlama):\n    pass\n")

    with pytest.raises(ConfigError, match=r"(?s)a file with one model, or FILE.py:Class.*MyLlama, Other"):
        answers(directory, model_file=str(path))


@pytest.mark.parametrize(("text", "reason"), [
    ("import sys; sys.exit(3)", "SystemExit: 3"), ("def model(:", "SyntaxError"),
    ("import no_such", "ModuleNotFoundError"),
])
def test_a_file_that_does_not_run_says_why(directory, tmp_path, text, reason):
    path = tmp_path / "broken.py"
    path.write_text(text)

    with pytest.raises(ConfigError, match=rf"model_file = '.*broken.py': expected a Python file that runs. {reason}"):
        answers(directory, model_file=str(path))

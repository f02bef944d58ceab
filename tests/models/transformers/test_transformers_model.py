"""Models of Transformers give Transformers' tokens, alone, in company, in chunks and after preemption."""

import json
import logging

import pytest
import torch
from tiny_transformers import ARCHITECTURE_OF, greedy, write_custom, write_kind
from transformers import AutoModelForCausalLM

from weft import LLM, SamplingParams
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.core import EngineCore
from weft.engine.process.messages import EngineRequest
from weft.errors import CheckpointError, ConfigError, NotBuiltError
from weft.resolve.engine_config import resolve_engine_config

PROMPTS = [[5 + i, 77, 19 + 2 * i, 105, 130 + i] * (1 + 2 * i) for i in range(4)]
GENERATING = ["llama", "qwen3", "gemma2", "gpt-oss", "mixtral", "deepseek-v3", "gpt2", "phi", "bloom", "mamba", "lfm2",
              "recurrent-gemma"]
UNMODIFIED = {"bloom", "mamba", "lfm2", "recurrent-gemma"}       # the last keeps states in its modules
FUSED = {"llama", "qwen3", "gemma2", "mixtral"}
WITH_EXPERTS = {"gpt-oss", "mixtral", "deepseek-v3"}
WAYS = {"in company": {}, "chunked": {"max_num_batched_tokens": 7, "max_num_seqs": 3},
        "reference kernels": {"cpu_isa": "reference"}, "preempted": {"num_blocks": 7},
        "blocks of 32": {"block_size": 32, "enable_prefix_caching": False}}
COUNT = 12


@pytest.fixture(scope="module", params=GENERATING)
def made(request, tmp_path_factory):
    """(kind, directory, the tokens that Transformers gives)."""
    directory = tmp_path_factory.mktemp(request.param)
    model = write_kind(directory, request.param)
    return request.param, directory, [greedy(model, prompt, COUNT) for prompt in PROMPTS]


def engine(directory, **options):
    options = {"dtype": "float32", "max_model_len": 96, "use_tqdm_on_load": False, "num_threads": 1,
               "skip_tokenizer_init": True, "model_impl": "transformers"} | options
    return LLM(model=str(directory), **options)


def tokens(llm, prompts=PROMPTS):
    params = SamplingParams(temperature=0, max_tokens=COUNT, ignore_eos=True)
    outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs], outputs


@pytest.mark.proves("transformers", "made", ARCHITECTURE_OF)
@pytest.mark.parametrize("way", ["chunked", "preempted"])
def test_tokens_are_those_of_transformers(made, way):
    check(made, way)


@pytest.mark.parametrize("made", ["llama", "mamba"], indirect=True)
@pytest.mark.parametrize("way", ["in company", "reference kernels", "blocks of 32"])
def test_tokens_are_the_same_in_other_ways(made, way):
    check(made, way)


def check(made, way):
    _, directory, wanted = made
    options = dict(WAYS[way])
    blocks = options.pop("num_blocks", None)
    if blocks is not None:
        with engine(directory) as llm:
            options["kv_cache_memory_bytes"] = blocks * kv_block_bytes(llm)

    with engine(directory, **options) as llm:
        found, outputs = tokens(llm)

    assert found == wanted
    if blocks is not None:
        assert sum(output.metrics.num_preemptions for output in outputs) > 0


def kv_block_bytes(llm):
    (plan,) = llm.collective_rpc("memory_plan")
    return plan["kv_cache_bytes"] // min(plan["num_blocks"])


def test_the_module_says_its_kind_and_level(made):
    kind, directory, _ = made

    with engine(directory) as llm:
        ((name, level, reason),) = llm.apply_model(lambda module: (type(module).__name__, module.level, module.reason))

    assert name == ("TransformersMoEForCausalLM" if kind in WITH_EXPERTS else "TransformersForCausalLM")
    assert level == ("own cache" if kind in UNMODIFIED else "wired and fused" if kind in FUSED else "wired")
    assert bool(reason) == (kind not in FUSED)


def test_a_prefix_is_found_again_where_the_cache_is_wefts(made):
    kind, directory, wanted = made

    with engine(directory) as llm:
        for _ in range(2):
            found, outputs = tokens(llm, PROMPTS[-1:])
            assert found == wanted[-1:]

    assert (outputs[0].num_cached_tokens > 0) == (kind not in UNMODIFIED)


def test_log_probabilities_of_a_prompt_in_chunks(tmp_path):
    model = write_kind(tmp_path, "lfm2")
    prompt = PROMPTS[2]
    with torch.inference_mode():
        logprobs = model(torch.tensor([prompt])).logits[0].log_softmax(-1)

    with engine(tmp_path, max_num_batched_tokens=7, max_num_seqs=2) as llm:
        params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
        (output,) = llm.generate({"prompt_token_ids": prompt}, params, use_tqdm=False)

    found = [entry[token].logprob for entry, token in zip(output.prompt_logprobs[1:], prompt[1:], strict=True)]
    wanted = [float(logprobs[i, token]) for i, token in enumerate(prompt[1:])]
    assert found == pytest.approx(wanted, abs=1e-4)


def test_caches_of_sequences_that_ended_or_were_aborted_are_dropped(tmp_path):
    write_kind(tmp_path, "mamba")
    args = EngineArgs(model=str(tmp_path), dtype="float32", max_model_len=96, model_impl="transformers", num_threads=1,
                      use_tqdm_on_load=False, skip_tokenizer_init=True)
    core = EngineCore(resolve_engine_config(args, Machine.detect()))
    params = SamplingParams(temperature=0, max_tokens=3, seed=0, ignore_eos=True)
    for name in ("ends", "is aborted"):
        core.add(EngineRequest(request_id=name, prompt_token_ids=PROMPTS[0], params=params, eos_token_ids=[],
                               arrival_time=0.0))
    held = core.runner.model.own_caches

    core.step()
    assert len(held) == 2
    core.abort(["is aborted"])
    assert len(held) == 1
    while core.has_unfinished:
        core.step()
    assert len(held) == 0


@pytest.mark.parametrize("kind", ["qwen3", "mixtral"])
def test_bfloat16_is_fused_too(tmp_path, kind):
    write_kind(tmp_path, kind, torch.bfloat16)

    with engine(tmp_path, dtype="bfloat16") as llm:
        assert llm.apply_model(lambda module: module.level) == ["wired and fused"]


def test_weights_are_quantized_at_load_as_a_described_models_are(tmp_path):
    write_kind(tmp_path, "llama")

    def logprobs(**options):
        with engine(tmp_path, **options) as llm:
            params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
            outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in PROMPTS], params, use_tqdm=False)
        return torch.tensor([next(iter(position.values())).logprob for output in outputs
                             for position in output.prompt_logprobs[1:]])

    found, described, exact = (logprobs(**options) for options in (
        {"quantization": "int8"}, {"quantization": "int8", "model_impl": "native"}, {}))

    assert (found - exact).abs().max() > 1e-3                  # the weights are codes
    assert (found - described).abs().mean() < (found - exact).abs().mean()


def test_quantization_at_load_is_refused_where_transformers_matrices_stay(tmp_path):
    write_kind(tmp_path, "phi")

    with pytest.raises(NotBuiltError, match="quantization"):
        engine(tmp_path, quantization="int8")


def test_auto_takes_transformers_where_weft_has_no_description(tmp_path, caplog):
    write_kind(tmp_path, "deepseek-v3")
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"architectures": ["JetMoeForCausalLM"], "model_type": "jetmoe"}))

    with caplog.at_level(logging.INFO, "weft"), pytest.raises(CheckpointError, match="JetMoeForCausalLM"):
        engine(tmp_path, model_impl="auto")

    assert "runs through Transformers: weft has no description of its own" in caplog.text


def test_native_never_takes_transformers(tmp_path):
    write_kind(tmp_path, "lfm2")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": ["JetMoeForCausalLM"]}))

    with pytest.raises(ConfigError, match="JetMoeForCausalLM"):
        engine(tmp_path, model_impl="native")


def test_code_of_the_checkpoint_runs_only_when_it_is_trusted(tmp_path, caplog):
    write_custom(tmp_path)

    with pytest.raises(ConfigError, match=r"auto_map.AutoModelForCausalLM.*trust_remote_code"):
        engine(tmp_path, model_impl="auto")

    model = AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=True, dtype=torch.float32)
    wanted = [greedy(model, prompt, COUNT) for prompt in PROMPTS]
    with caplog.at_level(logging.WARNING, "weft"), engine(
            tmp_path, model_impl="auto", trust_remote_code=True, max_num_batched_tokens=9, max_num_seqs=3) as llm:
        assert tokens(llm)[0] == wanted
        assert llm.apply_model(lambda module: type(module.model).__name__) == ["MineForCausalLM"]
    assert str(tmp_path.resolve() / "modeling_mine.py") in caplog.text
    assert "revision" in caplog.text


def test_a_missing_tensor_refuses_the_start(tmp_path):
    write_kind(tmp_path, "llama")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 4}))

    with pytest.raises(CheckpointError, match=r"no tensor fills.*layers\.3"):
        engine(tmp_path)


def test_what_the_engine_cannot_express_is_said(tmp_path):
    write_kind(tmp_path, "llama")
    file = tmp_path / "config.json"
    values = json.loads(file.read_text())

    file.write_text(json.dumps(values | {"architectures": ["LlamaForQuestionAnswering"]}))
    with pytest.raises(NotBuiltError, match="generates, classifies"):
        engine(tmp_path)


def test_a_model_file_beside_model_impl_transformers_is_refused(tmp_path):
    write_kind(tmp_path, "llama")
    code = tmp_path / "mine.py"
    code.write_text("from weft.architectures.llama import llama\nfrom weft.architectures.registry import architecture\n"
                    "mine = architecture('LlamaForCausalLM')(lambda c: llama(c))\n")

    with pytest.raises(ConfigError, match="model_impl"):
        engine(tmp_path, model_file=str(code))


def test_layers_that_compute_something_else_than_their_parts_say_stay_transformers(tmp_path):
    model = write_kind(tmp_path, "smollm3")               # its second layer does not rotate
    wanted = [greedy(model, prompt, COUNT) for prompt in PROMPTS]

    with engine(tmp_path) as llm:
        assert tokens(llm)[0] == wanted
        ((level, reason),) = llm.apply_model(lambda module: (module.level, module.reason))

    assert level == "wired"
    assert "with weft's layers, states differ" in reason

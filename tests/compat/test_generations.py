"""Model files in the style of each of vLLM's generations give the right tokens, in company and in chunks."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_llama import make_checkpoint
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from weft import LLM, SamplingParams
from weft.errors import ConfigError, NotBuiltError
from weft.models.vllm.generations import adapted, generation

FILES = Path(__file__).parent / "vllm_files"
PROMPTS = [{"prompt_token_ids": [1 + i, 7, 9 + 2 * i, 5, 30 + i] * (1 + 2 * i)} for i in range(4)]
SCALE = 3


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"), embed_scale=SCALE)


def options(directory, **more):
    return {"model": str(directory), "dtype": "float32", "max_model_len": 128, "use_tqdm_on_load": False,
            "num_threads": 1, **more}


def answers(directory, max_tokens=8, **more):
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    with LLM(**options(directory, **more)) as llm:
        return [output.outputs[0].token_ids for output in llm.generate(PROMPTS, params, use_tqdm=False)]


def transformers_answers(directory, scale):
    """Greedy tokens of Transformers' model, with the embedding multiplied by `scale`."""
    config = AutoConfig.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, config=config, dtype=torch.float32).eval()
    found = []
    with torch.no_grad():
        for prompt in PROMPTS:
            ids = list(prompt["prompt_token_ids"])
            for _ in range(8):
                embeds = model.get_input_embeddings()(torch.tensor([ids])) * scale
                ids.append(int(model(inputs_embeds=embeds).logits[0, -1].argmax()))
            found.append(ids[len(prompt["prompt_token_ids"]):])
    return found


@pytest.fixture(scope="module")
def wanted(directory):
    return {"g0": (plain := transformers_answers(directory, 1)), "g1": transformers_answers(directory, SCALE),
            "g2": plain}


@pytest.mark.parametrize("more", [{}, {"max_num_batched_tokens": 7, "max_num_seqs": 3}, {"cpu_isa": "reference"}],
                         ids=["in company", "chunked", "reference"])
@pytest.mark.parametrize("name", ["g0", "g1", "g2"])
def test_a_file_of_each_generation_gives_the_tokens_of_transformers(directory, wanted, name, more, caplog):
    with caplog.at_level(logging.INFO, logger="weft"):
        assert answers(directory, model_file=str(FILES / f"{name}_llama.py"), **more) == wanted[name]


def test_the_bridges_are_said_once(directory, caplog):
    with caplog.at_level(logging.INFO, logger="weft"):
        answers(directory, model_file=str(FILES / "g0_llama.py"), max_tokens=1)

    said = [record.message for record in caplog.records if "generation" in record.message]
    assert said == ["MyG0ForCausalLM is written for vLLM's generation g0: weft bridges __init__, embed_input_ids, "
                    "forward, compute_logits"]


def test_a_plugin_of_vllms_group_registers_a_model(directory, wanted, tmp_path):
    """In a process of its own, with an installed package and a child process of the engine."""
    package = tmp_path / "my_vllm_plugin"
    package.mkdir()
    (package / "__init__.py").write_text(
        "def register():\n    from vllm import ModelRegistry\n"
        "    ModelRegistry.register_model('LlamaForCausalLM', 'my_vllm_plugin.model:MyG1ForCausalLM')\n")
    (package / "model.py").write_text((FILES / "g1_llama.py").read_text())
    info = tmp_path / "my_vllm_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-vllm-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vllm.general_plugins]\nmine = my_vllm_plugin:register\n")
    code = f"""
import asyncio
from weft import AsyncLLM, EngineArgs, SamplingParams
async def main():
    engine = AsyncLLM.from_engine_args(EngineArgs(**{options(directory)!r}))
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    for number, prompt in enumerate({PROMPTS[:2]!r}):
        async for output in engine.generate(prompt, params, request_id=str(number)):
            last = output
        print(last.outputs[0].token_ids)
    engine.shutdown()
if __name__ == "__main__":
    asyncio.run(main())
"""
    (tmp_path / "script.py").write_text(code)

    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    out = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, env=environment)

    assert out.stdout.splitlines() == [str(ids) for ids in wanted["g1"][:2]], out.stderr


def test_a_class_of_todays_interface_is_left_alone():
    class Model(nn.Module):
        def __init__(self, *, vllm_config, prefix=""):
            super().__init__()

        def embed_input_ids(self, input_ids): ...
        def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None): ...
        def compute_logits(self, hidden_states): ...
        def load_weights(self, weights): ...

    assert adapted(Model) is Model
    assert generation(Model) == "g2"


def test_a_constructor_with_unknown_arguments_is_refused_by_name():
    class Model(nn.Module):
        def __init__(self, config, cache_config, flavour):
            super().__init__()

    with pytest.raises(ConfigError, match=r"weft does not know what to give as flavour\."):
        adapted(Model)


def test_rows_of_embeddings_need_a_forward_that_takes_them():
    class Model(nn.Module):
        def __init__(self, config):
            super().__init__()

        def forward(self, input_ids, positions, kv_caches, attn_metadata): ...

    model = adapted(Model).__new__(adapted(Model))
    with pytest.raises(NotBuiltError, match=r"Model\.forward has no argument inputs_embeds"):
        adapted(Model).forward(model, None, None, inputs_embeds=torch.zeros(1, 2))

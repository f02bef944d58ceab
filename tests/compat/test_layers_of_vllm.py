"""Files written for vLLM that rely on what its kernels do beside returning a result give the right tokens."""

import logging

import pytest
from tiny_llama import make_checkpoint

from weft import LLM, SamplingParams

HEAD = """
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.models.llama import LlamaAttention, LlamaDecoderLayer, LlamaForCausalLM, LlamaModel
from vllm.attention import Attention
"""
NORMS_IN_PLACE = HEAD + """
class Layer(LlamaDecoderLayer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        assert isinstance(self.input_layernorm, RMSNorm)

    def forward(self, positions, hidden_states, residual):
        if residual is None:
            residual = hidden_states
            hidden_states = self.input_layernorm(hidden_states)
        else:
            self.input_layernorm(hidden_states, residual)
        hidden_states = self.self_attn(positions=positions, hidden_states=hidden_states)
        self.post_attention_layernorm(hidden_states, residual)
        return self.mlp(hidden_states), residual


class MyForCausalLM(LlamaForCausalLM):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix, layer_type=Layer)
"""
ATTENDS_TWICE = HEAD + """
class Twice(LlamaAttention):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        assert isinstance(self.attn, Attention)

    def forward(self, positions, hidden_states):
        qkv, _ = self.qkv_proj(hidden_states)
        q, k, v = qkv.split([self.q_size, self.kv_size, self.kv_size], dim=-1)
        q, k = self.rotary_emb(positions, q, k)
        self.attn(q, k * 0, v * 2)
        return self.o_proj(self.attn(q, k, v))[0]


class Layer(LlamaDecoderLayer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, attn_layer_type=Twice, **kwargs)


class MyForCausalLM(LlamaForCausalLM):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix, layer_type=Layer)
"""
PROMPTS = [{"prompt_token_ids": [1 + i, 7, 9 + 2 * i, 5, 30 + i] * (1 + 2 * i)} for i in range(3)]
WAYS = {"in company": {}, "chunked": {"max_num_batched_tokens": 7, "max_num_seqs": 3},
        "reference": {"cpu_isa": "reference"}}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def wanted(directory):
    return answers(directory)


def answers(directory, **more):
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    with LLM(model=str(directory), dtype="float32", max_model_len=128, use_tqdm_on_load=False, num_threads=1,
             **more) as llm:
        return [output.outputs[0].token_ids for output in llm.generate(PROMPTS, params, use_tqdm=False)]


@pytest.mark.parametrize("more", WAYS.values(), ids=WAYS)
def test_a_norm_with_a_residual_changes_both_of_its_inputs(directory, wanted, tmp_path, more):
    file = tmp_path / "norms.py"
    file.write_text(NORMS_IN_PLACE)

    assert answers(directory, model_file=f"{file}:MyForCausalLM", **more) == wanted


@pytest.mark.parametrize("more", WAYS.values(), ids=WAYS)
def test_the_last_call_of_an_attention_in_a_step_is_what_later_tokens_see(directory, wanted, tmp_path, more):
    file = tmp_path / "twice.py"
    file.write_text(ATTENDS_TWICE)

    assert answers(directory, model_file=f"{file}:MyForCausalLM", **more) == wanted


def test_an_attention_that_is_called_twice_is_said_once(directory, tmp_path, caplog):
    from weft.models.vllm import layers
    layers._say_repeated.cache_clear()
    file = tmp_path / "twice.py"
    file.write_text(ATTENDS_TWICE)

    with caplog.at_level(logging.WARNING, logger="weft"):
        answers(directory, model_file=f"{file}:MyForCausalLM")

    said = [record.message for record in caplog.records if "several times in a step" in record.message]
    assert len(said) == len(set(said)) == 2      # one for each of the two layers

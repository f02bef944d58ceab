"""The programmed models that other files borrow from give the tokens of the described models."""

import pytest
from tiny_models import write_checkpoint
from tiny_variants import VARIANTS

from weft import LLM, SamplingParams

PROMPTS = [{"prompt_token_ids": [1 + i, 7, 9 + 2 * i, 5, 30 + i] * (1 + i)} for i in range(4)]
CASES = {
    "gpt2": "gpt2:GPT2LMHeadModel", "gpt2-inverse-layer-scale": "gpt2:GPT2LMHeadModel",
    "gpt2-unscaled": "gpt2:GPT2LMHeadModel", "opt": "opt:OPTForCausalLM", "opt-350m": "opt:OPTForCausalLM",
    "opt-bare": "opt:OPTForCausalLM", "gemma2": "gemma2:Gemma2ForCausalLM",
    "gemma2-no-caps": "gemma2:Gemma2ForCausalLM",
    "qwen2": "qwen2:Qwen2ForCausalLM", "qwen2-window-tied": "qwen2:Qwen2ForCausalLM",
    "qwen3": "qwen3:Qwen3ForCausalLM", "qwen3-bias": "qwen3:Qwen3ForCausalLM",
}


def answers(directory, **options):
    params = SamplingParams(temperature=0, max_tokens=10, ignore_eos=True)
    with LLM(model=str(directory), dtype="float32", skip_tokenizer_init=True, use_tqdm_on_load=False, max_model_len=96,
             max_num_batched_tokens=17, max_num_seqs=3, **options) as llm:
        return [output.outputs[0].token_ids for output in llm.generate(PROMPTS, params, use_tqdm=False)]


@pytest.mark.parametrize("name", CASES)
def test_a_borrowed_model_gives_the_described_models_tokens(name, tmp_path):
    write_checkpoint(VARIANTS[name], tmp_path)

    assert answers(tmp_path, model_class=f"weft.models.library.{CASES[name]}") == answers(tmp_path)

"""The programmed models of examples/ give the described models' tokens."""

import pytest
from programmed_bloom import MyBloom
from programmed_mixtral import MyMixtral
from tiny_models import write_checkpoint
from tiny_variants import VARIANTS

from weft import LLM, SamplingParams

PROMPTS = [{"prompt_token_ids": [1 + i, 7, 9 + 2 * i, 5, 30 + i] * (1 + 2 * i)} for i in range(4)]
CLASSES = {"mixtral": MyMixtral, "mixtral-window": MyMixtral, "bloom": MyBloom, "bloom-six-heads": MyBloom}


def answers(path, **options):
    options = {"dtype": "float32", "max_model_len": 128, "use_tqdm_on_load": False, "num_threads": 1,
               "skip_tokenizer_init": True, "max_num_batched_tokens": 24, "max_num_seqs": 3} | options
    with LLM(model=str(path), **options) as llm:
        params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, detokenize=False)
        return [output.outputs[0].token_ids for output in llm.generate(PROMPTS, params, use_tqdm=False)]


@pytest.mark.parametrize("name", CLASSES)
def test_tokens_in_company_and_chunked(tmp_path, name):
    write_checkpoint(VARIANTS[name], tmp_path)

    described, programmed = answers(tmp_path), answers(tmp_path, model_class=CLASSES[name])

    assert programmed == described
    assert len({tuple(tokens) for tokens in described}) > 1


@pytest.mark.parametrize(("name", "quantization"), [("mixtral", "int4"), ("bloom", "int8")])
def test_tokens_when_quantized_at_load(tmp_path, name, quantization):
    write_checkpoint(VARIANTS[name], tmp_path)

    assert (answers(tmp_path, quantization=quantization)
            == answers(tmp_path, model_class=CLASSES[name], quantization=quantization))


@pytest.mark.parametrize("name", ["mixtral", "bloom"])
def test_dummy_weights_run(tmp_path, name):
    write_checkpoint(VARIANTS[name], tmp_path)

    assert all(len(tokens) == 8 for tokens in answers(tmp_path, model_class=CLASSES[name], load_format="dummy"))

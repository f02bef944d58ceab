"""Decode steps of hybrids make native calls alone, so they are recorded and made again, with the same tokens."""

from __future__ import annotations

import pytest
from isa_levels import native_levels
from tiny_hybrids import HYBRID_VARIANTS
from tiny_models import write_checkpoint

from weft import LLM, SamplingParams

PROMPTS = [{"prompt_token_ids": [5, 6, 7, 8]}, {"prompt_token_ids": [9, 3, 4]}]
PARAMS = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


@pytest.mark.skipif(not native_levels(), reason="no native kernels here")
@pytest.mark.parametrize("name", ["bamba", "jamba", "falcon-h1-norm-first", "nemotron-h", "lfm2", "granite-hybrid-moe",
                                  "minimax-factors"])
def test_decode_steps_of_hybrids_are_recorded(name, tmp_path):
    write_checkpoint(HYBRID_VARIANTS[name], tmp_path)
    options = {"model": str(tmp_path), "dtype": "float32", "skip_tokenizer_init": True, "max_model_len": 64,
               "num_threads": 1, "kv_cache_memory_bytes": 4 << 20, "use_tqdm_on_load": False}
    with LLM(**options, enforce_eager=True) as llm:
        wanted = [output.outputs[0].token_ids for output in llm.generate(PROMPTS, PARAMS, use_tqdm=False)]
    with LLM(**options) as llm:
        outputs = llm.generate(PROMPTS, PARAMS, use_tqdm=False)
        refusal, count = llm.apply_model(lambda module: (module.steps.refusal, len(module.steps._recordings)))[0]

    assert [output.outputs[0].token_ids for output in outputs] == wanted
    assert refusal is None
    assert count > 0

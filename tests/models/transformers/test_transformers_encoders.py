"""Encoders of Transformers pool what Transformers' hidden states give."""

import json

import pytest
import torch
import torch.nn.functional as F
from tiny_encoders import token_states, write_sentence_files
from tiny_transformers import ARCHITECTURE_OF, write_kind

from weft import LLM

LEVELS = {"bert": "wired", "roberta": "wired", "distilbert": "wired", "albert": "own cache", "esm": "wired"}
PROMPTS = [[5 + i, 77, 19 + 2 * i, 105] * (1 + 3 * i) for i in range(4)]


@pytest.mark.proves("transformers", "kind", ARCHITECTURE_OF)
@pytest.mark.parametrize("kind", LEVELS)
@pytest.mark.parametrize("mode", [None, "mean_tokens"])
def test_embeddings_in_company(tmp_path, kind, mode):
    model = write_kind(tmp_path, kind)
    if mode is not None:
        write_sentence_files(tmp_path, mode=mode)
    states = [token_states(model, prompt) for prompt in PROMPTS]
    wanted = [F.normalize(state[0] if mode is None else state.mean(0), dim=-1) for state in states]

    with LLM(model=str(tmp_path), dtype="float32", max_model_len=96, skip_tokenizer_init=True, num_threads=1,
             use_tqdm_on_load=False, model_impl="transformers") as llm:
        outputs = llm.embed([{"prompt_token_ids": prompt} for prompt in PROMPTS], use_tqdm=False)
        found = [torch.tensor(output.outputs.embedding) for output in outputs]
        assert llm.apply_model(lambda module: (type(module).__name__, module.level)) == [
            ("TransformersEmbeddingModel", LEVELS[kind])]
        states_found = [output.outputs.data for output in llm.encode(
            [{"prompt_token_ids": prompt} for prompt in PROMPTS], use_tqdm=False)]

    for one, other in zip([*found, *states_found], [*wanted, *states], strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_without_sentence_files_a_decoder_is_pooled_at_its_last_token(tmp_path):
    model = write_kind(tmp_path, "llama").model
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": ["LlamaModel"]}))

    with LLM(model=str(tmp_path), dtype="float32", max_model_len=96, skip_tokenizer_init=True, num_threads=1,
             use_tqdm_on_load=False, model_impl="transformers") as llm:
        (output,) = llm.embed([{"prompt_token_ids": PROMPTS[1]}], use_tqdm=False)

    wanted = F.normalize(token_states(model, PROMPTS[1])[-1], dim=-1)
    assert torch.allclose(torch.tensor(output.outputs.embedding), wanted, atol=1e-4)

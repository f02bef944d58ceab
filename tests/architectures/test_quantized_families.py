"""Matrices rounded to 8 bits at load change a family's answers a little: they are rounded, and none is mistaken."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_encoders
import torch
from qwen_v1 import QwenV1
from tiny_hybrids import HYBRID_VARIANTS
from tiny_models import write_checkpoint
from tiny_variants import STATE_VARIANTS, VARIANTS
from torch import Tensor

from weft import LLM, PoolingParams, SamplingParams

# Of the norm of a row of logits around their mean, or of states. int8 has 127 steps on either side of zero: these tiny
# models change by 2% to 10%. A matrix that is another one, is transposed or has other scales makes it about 1.
SMALLEST_CHANGE, LARGEST_CHANGE = 0.005, 0.15
PROMPT = {"prompt_token_ids": [3, 70, 141, 9, 200, 33, 18, 5, 77, 121, 260, 44]}


def _first_of_each() -> dict[str, str]:
    """{variant: architecture}, one variant for each architecture."""
    firsts = {tiny.cls: name for name, tiny in reversed((VARIANTS | STATE_VARIANTS | HYBRID_VARIANTS).items())}
    return {name: architecture for architecture, name in firsts.items()}


MODELS = _first_of_each() | {"qwen-v1": "QWenLMHeadModel"}


def write(name: str, directory: Path) -> Path:
    directory.mkdir()
    torch.manual_seed(0)                                       # the same weights at each run: limits are close
    if name == "qwen-v1":
        QwenV1().save_pretrained(directory)
    else:
        write_checkpoint((VARIANTS | STATE_VARIANTS | HYBRID_VARIANTS)[name], directory)
    return directory


def engine(path: Path, **options) -> LLM:
    return LLM(model=str(path), dtype="float32", skip_tokenizer_init=True, max_model_len=64, num_threads=1,
               kv_cache_memory_bytes=4 << 20, use_tqdm_on_load=False, max_logprobs=-1, **options)


def logits(path: Path, **options) -> Tensor:
    """[T - 1, V]: the log-probabilities of all tokens after each token of the prompt, moved to a mean of zero."""
    params = SamplingParams(temperature=0.0, max_tokens=1, ignore_eos=True, detokenize=False, prompt_logprobs=-1)
    with engine(path, **options) as llm:
        [output] = llm.generate(PROMPT, params, use_tqdm=False)
    rows = [[entries[token].logprob for token in sorted(entries)] for entries in output.prompt_logprobs[1:]]
    return torch.tensor(rows) - torch.tensor(rows).mean(dim=-1, keepdim=True)


def states(path: Path, **options) -> Tensor:
    """[T, E]: the states of the prompt's tokens."""
    with engine(path, **options) as llm:
        return llm.encode(PROMPT, PoolingParams(), use_tqdm=False)[0].outputs.data


def check(found: Tensor, exact: Tensor) -> None:
    change = ((found - exact).norm(dim=-1) / exact.norm(dim=-1)).max().item()
    assert SMALLEST_CHANGE < change < LARGEST_CHANGE


@pytest.mark.proves("quantization", "name", MODELS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_generates(name, tmp_path):
    path = write(name, tmp_path / "model")

    check(logits(path, quantization="int8"), logits(path))


@pytest.mark.proves("quantization", "name", tiny_encoders.ARCHITECTURE_OF)
@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_an_encoder(name, tmp_path):
    tiny_encoders.write_encoder(tmp_path, name)

    check(states(tmp_path, quantization="int8"), states(tmp_path))

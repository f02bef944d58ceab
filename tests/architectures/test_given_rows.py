"""A prompt given as the rows of Transformers' embedding is answered as its token ids are, in each way of embedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tiny_models import write_checkpoint
from tiny_variants import VARIANTS
from torch import Tensor, nn

from weft import LLM, SamplingParams
from weft.errors import RequestError

# Plain; scaled in the lookup; scaled after it; positions; a norm; a projection.
KINDS = ("llama", "gemma2", "granite", "gpt2", "bloom", "opt-350m")
PROMPTS = tuple(tuple(torch.randint(3, 320, (length,), generator=torch.Generator().manual_seed(length)).tolist())
                for length in (1, 5, 33, 70))
GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True, detokenize=False, logprobs=2)


@dataclass(frozen=True)
class Tiny:
    """A checkpoint and the embedding of its Transformers model."""

    path: Path
    embedding: nn.Module

    def rows(self, token_ids: tuple[int, ...]) -> Tensor:
        with torch.inference_mode():
            return self.embedding(torch.tensor(token_ids))


@pytest.fixture(scope="module", params=KINDS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    path = tmp_path_factory.mktemp(request.param)
    yield Tiny(path, write_checkpoint(VARIANTS[request.param], path).get_input_embeddings())


def engine(tiny: Tiny, **options) -> LLM:
    options = {"dtype": "float32", "skip_tokenizer_init": True, "max_model_len": 128, "kv_cache_memory_bytes": 4 << 20,
               "num_threads": 1, "use_tqdm_on_load": False, "enable_prompt_embeds": True} | options
    return LLM(model=str(tiny.path), **options)


def answers(llm: LLM, prompts: list, params: SamplingParams = GREEDY) -> list[tuple]:
    """Of each prompt the tokens and their log-probabilities."""
    outputs = llm.generate(prompts, params, use_tqdm=False)
    return [(answer.token_ids, [{i: entry.logprob for i, entry in position.items()} for position in answer.logprobs])
            for output in outputs for answer in output.outputs]


@pytest.mark.parametrize("options", [{}, {"max_num_batched_tokens": 16, "max_num_seqs": 3}], ids=["whole", "chunked"])
def test_rows_are_answered_as_ids_are_bit_for_bit_alone_and_in_company(tiny, options):
    rows = [{"prompt_embeds": tiny.rows(ids)} for ids in PROMPTS]
    with engine(tiny, **options) as llm:
        expected = answers(llm, [list(ids) for ids in PROMPTS])
        alone = [answers(llm, [prompt])[0] for prompt in rows]
        together = answers(llm, [*rows, *(list(ids) for ids in PROMPTS)])

    assert alone == expected
    assert together == expected * 2


def test_without_native_kernels_a_batch_of_rows_is_answered_as_the_same_batch_of_ids(tiny):
    with engine(tiny, cpu_isa="reference") as llm:      # whose rounding depends on the batch
        assert answers(llm, [{"prompt_embeds": tiny.rows(ids)} for ids in PROMPTS]) == answers(
            llm, [list(ids) for ids in PROMPTS])


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Tiny:
    path = tmp_path_factory.mktemp("llama")
    return Tiny(path, write_checkpoint(VARIANTS["llama"], path).get_input_embeddings())


def test_prefixes_of_equal_rows_are_found_again_and_those_of_others_are_not(llama):
    rows = llama.rows(PROMPTS[2])
    other = rows.clone()
    other[20] += 1e-3
    with engine(llama) as llm:
        first, again, changed, ids = (llm.generate(prompt, GREEDY, use_tqdm=False)[0] for prompt in (
            {"prompt_embeds": rows}, {"prompt_embeds": rows}, {"prompt_embeds": other}, list(PROMPTS[2])))

    assert [first.num_cached_tokens, again.num_cached_tokens, changed.num_cached_tokens] == [0, 32, 16]
    assert ids.num_cached_tokens == 0                       # the same content under another name
    assert first.outputs[0].token_ids == again.outputs[0].token_ids == ids.outputs[0].token_ids


def test_sampled_answers_with_penalties_agree_too(llama):
    params = SamplingParams(n=3, seed=5, temperature=0.9, max_tokens=12, frequency_penalty=0.7, presence_penalty=0.3,
                            ignore_eos=True, detokenize=False, logprobs=1)
    with engine(llama) as llm:
        assert answers(llm, [{"prompt_embeds": llama.rows(PROMPTS[1])}], params) == answers(
            llm, [list(PROMPTS[1])], params)


def test_preempted_prompts_of_rows_are_computed_again_from_their_rows(llama):
    rows = [{"prompt_embeds": llama.rows(ids)} for ids in PROMPTS] * 3
    params = SamplingParams(temperature=0.0, max_tokens=40, ignore_eos=True, detokenize=False, logprobs=1)
    with engine(llama) as llm:
        [plan] = llm.collective_rpc("memory_plan")
        expected = answers(llm, rows, params)
    with engine(llama, kv_cache_memory_bytes=16 * plan["kv_cache_bytes"] // plan["num_blocks"][0]) as llm:
        assert answers(llm, rows, params) == expected
        assert llm.stats.num_preemptions > 0


@pytest.mark.parametrize("wrong", [torch.zeros(3, 5), torch.full((2, 64), float("inf"))], ids=["width", "inf"])
def test_wrong_rows_leave_the_engine_as_it_was(llama, wrong):
    with engine(llama) as llm:
        with pytest.raises(RequestError, match="prompt_embeds"):
            llm.generate([list(PROMPTS[0]), {"prompt_embeds": wrong}], GREEDY, use_tqdm=False)
        assert llm.stats.num_steps == 0
        assert answers(llm, [list(PROMPTS[0])])


def test_bfloat16_rows_of_the_models_own_dtype_are_taken_bit_for_bit(llama):
    with engine(llama, dtype="bfloat16") as llm:
        rows = llama.embedding.weight.detach().bfloat16()[list(PROMPTS[2])]
        assert answers(llm, [{"prompt_embeds": rows}]) == answers(llm, [list(PROMPTS[2])])

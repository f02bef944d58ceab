"""A request's tokens do not depend on what shares the batch, on chunking, on the prefix cache or on preemption."""

import random

import pytest
from tiny_llama import make_checkpoint

from weft import LLM, SamplingParams

VARIANTS = {
    "full-attention": {},
    "sliding-window": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 21},
}
GREEDY = SamplingParams(temperature=0, max_tokens=30, ignore_eos=True)
ONE_TOKEN_BYTES = 2 * 2 * 2 * 8 * 4             # two layers, k and v, two heads of eight float32


def prompts(count, *, shared=0):
    rng = random.Random(5)
    common = [rng.randrange(250) for _ in range(shared)]
    return [common + [rng.randrange(250) for _ in range(rng.choice([1, 5, 16, 17, 40, 70]))] for _ in range(count)]


def tokens(outputs):
    return [output.outputs[0].token_ids for output in outputs]


def engine(directory, **options):
    return LLM(model=str(directory), **({"max_model_len": 256, "max_num_seqs": 32, "num_threads": 1} | options))


@pytest.fixture(scope="module", params=VARIANTS)
def directory(request, tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"), **VARIANTS[request.param])


@pytest.fixture(scope="module")
def alone(directory):
    """The tokens of 16 requests, each computed alone, in one chunk, without a cached prefix."""
    with engine(directory, enable_prefix_caching=False) as llm:
        return [tokens(llm.generate([prompt], GREEDY, use_tqdm=False))[0] for prompt in prompts(16)]


def test_the_requests_differ_so_that_a_mix_up_would_show(alone):
    assert len({tuple(t) for t in alone}) > 10


def test_in_a_shuffled_batch_of_sixteen_each_gets_the_tokens_it_gets_alone(directory, alone):
    order = random.Random(1).sample(range(16), 16)
    with engine(directory) as llm:
        together = tokens(llm.generate([prompts(16)[i] for i in order], GREEDY, use_tqdm=False))

    assert together == [alone[i] for i in order]


def test_chunks_of_seven_tokens_change_nothing(directory, alone):
    with engine(directory, max_num_batched_tokens=7, max_num_seqs=7) as llm:
        assert tokens(llm.generate(prompts(16), GREEDY, use_tqdm=False)) == alone
        llm_core = llm.collective_rpc("memory_plan")[0]
    assert llm_core["max_model_len"] == 256


def test_one_sequence_at_a_time_has_the_whole_context(directory, alone):
    with engine(directory, max_num_batched_tokens=8, max_num_seqs=1) as llm:
        assert tokens(llm.generate(prompts(16), GREEDY, use_tqdm=False)) == alone
        assert llm.collective_rpc("memory_plan")[0]["max_model_len"] == 256


def test_cached_prefixes_change_nothing_and_are_counted(directory, alone):
    with engine(directory) as llm:
        first = llm.generate(prompts(16), GREEDY, use_tqdm=False)
        again = llm.generate(prompts(16), GREEDY, use_tqdm=False)

    assert tokens(first) == tokens(again) == alone
    assert [o.num_cached_tokens for o in again] == [(len(p) - 1) // 16 * 16 for p in prompts(16)]


def test_prefixes_shared_within_a_batch_change_nothing(directory):
    with engine(directory, enable_prefix_caching=False) as llm:
        wanted = [tokens(llm.generate([p], GREEDY, use_tqdm=False))[0] for p in prompts(8, shared=50)]
    with engine(directory) as llm:
        outputs = llm.generate(prompts(8, shared=50), GREEDY, use_tqdm=False)

    assert tokens(outputs) == wanted
    assert sum(o.num_cached_tokens for o in outputs) >= 7 * 48


def test_preemption_under_a_tiny_cache_changes_nothing(directory, alone):
    with engine(directory, kv_cache_memory_bytes=20 * 16 * ONE_TOKEN_BYTES, max_num_batched_tokens=64) as llm:
        outputs = llm.generate(prompts(16), GREEDY, use_tqdm=False)

    assert tokens(outputs) == alone
    assert sum(o.metrics.num_preemptions for o in outputs) > 0


def test_sampled_tokens_are_the_same_too(directory):
    params = [SamplingParams(temperature=1.0, seed=i, max_tokens=20, top_p=0.9, ignore_eos=True) for i in range(8)]
    with engine(directory, enable_prefix_caching=False) as llm:
        wanted = [tokens(llm.generate([p], s, use_tqdm=False))[0] for p, s in zip(prompts(8), params, strict=True)]
    with engine(directory, max_num_batched_tokens=16, max_num_seqs=8) as llm:
        together = tokens(llm.generate(prompts(8), params, use_tqdm=False))

    assert together == wanted

"""What the workloads of the benchmarks are, and which rate comes of which time."""

import pytest
from workloads import batch, decode, prefill, shared, spread


def test_lengths_are_spread_evenly_and_one_alone_is_in_the_middle():
    assert spread(64, 512, 8) == (64, 128, 192, 256, 320, 384, 448, 512)
    assert spread(64, 512, 1) == (288,)


def test_prompts_have_their_lengths_and_are_the_same_for_the_same_round():
    workload = batch(4)

    prompts = workload.prompts(vocab_size=1000, round_index=0)

    assert tuple(map(len, prompts)) == (64, 213, 362, 512)
    assert prompts == workload.prompts(vocab_size=1000, round_index=0)
    assert prompts != workload.prompts(vocab_size=1000, round_index=1)


def test_only_a_decode_keeps_its_prompt_from_round_to_round():
    assert decode(512).prompts(1000, 0) == decode(512).prompts(1000, 1)
    assert prefill(512).prompts(1000, 0) != prefill(512).prompts(1000, 1)


def test_prompts_share_their_first_tokens_and_nothing_after_them():
    first, second, *_ = shared(32).prompts(vocab_size=100_000, round_index=0)

    assert first[:1024] == second[:1024]
    assert first[1024:] != second[1024:]
    assert len(first) == 1088


def test_no_prompt_has_a_special_token():
    assert min(min(prompt) for prompt in batch(8).prompts(vocab_size=10, round_index=0)) == 3


@pytest.mark.parametrize(("workload", "rate"), [
    (prefill(512), 256.0),                  # 512 prompt tokens in the 2 s to the first token
    (decode(512, output_len=9), 4.0),       # 8 tokens in the 2 s after it
    (batch(4, output_len=10), 10.0),        # 40 tokens in all 4 s
], ids=["prefill", "decode", "output"])
def test_a_rate_is_of_the_time_that_its_kind_says(workload, rate):
    assert workload.value(seconds=4.0, first_token_seconds=2.0) == rate


def test_a_shrunk_workload_says_its_own_lengths():
    assert prefill(8192).shrunk(64).title == "prefill, one prompt of 128"
    assert shared(32).shrunk(64).title == "32 requests, shared prefix of 16, own 1, 2 new"

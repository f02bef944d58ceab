"""Drawing is exact, reproducible and independent of the batch."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from weft.ops.sampling import draw_tokens, filter_logits, top_logprobs, uniforms
from weft.ops.sampling.reference import TorchSampling


def draws(logits, count, *, seed=1):
    seeds = np.full(count, seed, dtype=np.uint64)
    numbers = torch.from_numpy(uniforms(seeds, np.arange(count, dtype=np.uint64)))
    return draw_tokens(logits.expand(count, -1).clone(), numbers)


def filtered(logits, *, min_p=0.0, top_k=0, top_p=1.0):
    rows = torch.tensor([logits])
    return filter_logits(rows, min_p=torch.tensor([min_p]), top_k=torch.tensor([top_k]), top_p=torch.tensor([top_p]))[0]


def kept(logits, **options):
    return torch.isfinite(filtered(logits, **options)).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("vary", ["seeds", "positions"])
def test_the_numbers_are_uniform_along_seeds_and_along_positions(vary):
    line, zeros = np.arange(20000, dtype=np.uint64), np.zeros(20000, dtype=np.uint64)
    numbers = uniforms(line, zeros) if vary == "seeds" else uniforms(zeros, line)

    assert kstest(numbers, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.03


def test_neighbouring_seeds_do_not_give_shifted_streams():
    positions = np.arange(1000, dtype=np.uint64)
    one, two = (uniforms(np.full(1000, seed, dtype=np.uint64), positions) for seed in (7, 8))

    for shift in range(1, 20):
        assert not np.any(one[shift:] == two[:-shift])


def test_a_number_depends_on_its_own_seed_and_position_only():
    alone = uniforms(np.array([5], dtype=np.uint64), np.array([9], dtype=np.uint64))
    among = uniforms(np.array([1, 5, 3], dtype=np.uint64), np.array([2, 9, 4], dtype=np.uint64))

    assert alone[0] == among[1]


@pytest.mark.parametrize("size", [5, 1000])
def test_draws_follow_the_exact_distribution(size):
    torch.manual_seed(size)
    logits = torch.randn(1, size) * 2
    expected = torch.softmax(logits[0].double(), 0).numpy()

    counts = np.bincount(draws(logits, 60000).numpy(), minlength=size)

    common = expected * 60000 >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum()) * 60000
    if wanted[-1] < 5:
        observed, wanted = observed[:-1], wanted[:-1] * (observed[:-1].sum() / wanted[:-1].sum())
    assert chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-3


def test_a_masked_token_is_never_drawn_even_at_the_ends_of_the_number_line():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]] * 2)
    numbers = torch.tensor([2.0**-54, 1 - 2.0**-53], dtype=torch.float64)

    assert draw_tokens(logits, numbers).tolist() == [1, 3]


def test_top_k_keeps_the_k_likeliest_and_their_ties():
    assert kept([1.0, 5.0, 3.0, 4.0], top_k=2) == [1, 3]
    assert kept([1.0, 4.0, 4.0, 5.0], top_k=2) == [1, 2, 3]
    assert kept([1.0, 2.0], top_k=9) == [0, 1]


def test_top_p_keeps_the_smallest_set_that_reaches_p():
    logits = np.log([0.5, 0.3, 0.15, 0.05]).tolist()

    assert kept(logits, top_p=0.4) == [0]
    assert kept(logits, top_p=0.6) == [0, 1]
    assert kept(logits, top_p=0.9) == [0, 1, 2]
    assert kept(logits, top_p=0.999) == [0, 1, 2, 3]


def test_top_p_beyond_the_first_thousand_candidates_sorts_the_whole_row():
    logits = np.linspace(0, 1e-3, 5000).tolist()  # nearly flat: half the mass needs half the tokens

    assert len(kept(logits, top_p=0.5)) == pytest.approx(2500, abs=3)


def test_min_p_is_relative_to_the_likeliest_token():
    logits = np.log([0.6, 0.3, 0.07, 0.03]).tolist()

    assert kept(logits, min_p=0.2) == [0, 1]
    assert kept(logits, min_p=1.0) == [0]


def test_top_p_counts_what_min_p_and_top_k_left():
    logits = np.log([0.4, 0.3, 0.2, 0.1]).tolist()  # after top_k 2: 0.571, 0.429

    assert kept(logits, top_k=2, top_p=0.57) == [0]
    assert kept(logits, top_p=0.57) == [0, 1]


def test_a_rows_filter_does_not_depend_on_the_other_rows():
    torch.manual_seed(0)
    rows = torch.randn(3, 3000)
    options = dict(
        min_p=torch.tensor([0.0, 0.05, 0.0]), top_k=torch.tensor([0, 7, 2000]), top_p=torch.tensor([0.8, 1.0, 0.3])
    )
    together = filter_logits(rows.clone(), **options)

    for i in range(3):
        alone = filter_logits(rows[i : i + 1].clone(), **{name: value[i : i + 1] for name, value in options.items()})
        assert torch.equal(alone[0], together[i])


def test_logprobs_give_value_rank_and_the_best():
    values = torch.log_softmax(torch.tensor([[0.0, 3.0, 1.0, 2.0]]), -1)

    top = top_logprobs(values, torch.tensor([2]), 2)

    assert top.ranks.tolist() == [3]
    assert top.best_ids.tolist() == [[1, 3]]
    assert top.chosen.tolist() == pytest.approx([values[0, 2].item()])


@pytest.mark.parametrize("size", [64, 1000])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.5, 0.999, 1.0])
def test_a_grammars_bits_leave_the_logits_of_allowed_tokens_and_mask_all_others(size, share):
    allowed = np.random.default_rng(3).random(1024) < share      # more bits than there are tokens
    logits = torch.arange(3 * size, dtype=torch.float32).view(3, size)
    before, bits = logits.tolist(), np.packbits(allowed, bitorder="little").view(np.uint32)

    TorchSampling().allow_bits(logits[:2], {0: bits, 1: bits})
    TorchSampling().allow_bits(logits[1:], {1: bits})

    masked = [[value if allowed[i] else -np.inf for i, value in enumerate(row)] for row in before]
    assert logits.tolist() == masked

"""The filters of one row keep what their papers say, on distributions that can be worked out by hand."""

import math

import pytest
import torch

from weft.ops.sampling.filters import dynamic_temperature, keep_sigma, keep_surprise, keep_typical, leave_out_top


def row(*probabilities):
    return torch.tensor(probabilities).log()


def kept(logits):
    return (logits > -torch.inf).nonzero().flatten().tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_sigmas_are_counted_from_the_largest_logit_whatever_the_temperature(temperature):
    logits = torch.tensor([4.0, 3.0, 2.0, 0.0, -1.0, -torch.inf]) / temperature       # deviation 1.855 / temperature

    keep_sigma(logits, 1.0)

    assert kept(logits) == [0, 1]


@pytest.mark.parametrize(("p", "wanted"), [(0.2, [1]), (0.7, [0, 1]), (0.8, [0, 1, 2]), (1.0, [0, 1, 2, 3])])
def test_typical_tokens_surprise_by_the_entropy(p, wanted):
    logits = row(0.5, 0.25, 0.125, 0.125)              # surprises of 1, 2, 3 and 3 bits; their mean is 1.75

    keep_typical(logits, p)

    assert kept(logits) == wanted


@pytest.mark.parametrize(("threshold", "wanted"), [(0.1, [2, 3]), (0.2, [1, 2, 3]), (0.4, [0, 1, 2, 3])])
def test_of_the_likely_tokens_the_least_likely_stays(threshold, wanted):
    logits = row(0.5, 0.3, 0.15, 0.05)

    leave_out_top(logits, threshold)

    assert kept(logits) == wanted


@pytest.mark.parametrize(("logits", "wanted"), [
    (torch.zeros(8), 1.5), (torch.tensor([50.0, 0, 0, 0]), 0.5), (torch.tensor([0.0, -torch.inf]), 0.5),
    (torch.tensor([0.0, 0.0, -torch.inf, -torch.inf]), 1.5)])
def test_the_temperature_follows_the_entropy(logits, wanted):
    assert dynamic_temperature(logits, 1.0, 0.5, 1.0) == pytest.approx(wanted)


def test_an_exponent_bends_the_temperature_and_it_is_never_negative():
    half = row(0.5, 0.5, 1e-9, 1e-9)                   # entropy: half of the largest

    assert dynamic_temperature(half, 1.0, 1.0, 2.0) == pytest.approx(2 * 0.25, abs=1e-3)
    assert dynamic_temperature(torch.tensor([50.0, 0.0]), 0.3, 0.5, 1.0) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("mu", "wanted"), [(0.5, [0]), (1.0, [0]), (2.5, [0, 1]), (3.0, [0, 1, 2, 3])])
def test_mirostat_keeps_what_surprises_by_at_most_mu_bits_or_the_likeliest(mu, wanted):
    logits = row(0.5, 0.25, 0.125, 0.125)

    bits = -keep_surprise(logits, mu + 1e-4, version=2)

    assert kept(logits) == wanted
    assert (2 ** -bits[wanted]).sum() == pytest.approx(1), "probabilities among those that are kept"


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.5])
def test_the_first_mirostat_counts_tokens_by_zipfs_law(exponent):
    vocab, mu = 5000, 6.0
    logits = -exponent * torch.arange(1, vocab + 1, dtype=torch.float32).log()
    epsilon = exponent - 1
    ratio = epsilon * 2 ** mu / (1 - vocab ** -epsilon) if abs(epsilon) > 1e-6 else 2 ** mu / math.log(vocab)

    keep_surprise(logits, mu, version=1)

    assert kept(logits)[-1] + 1 == pytest.approx(ratio ** (1 / exponent), rel=0.02, abs=1)

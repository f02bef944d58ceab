"""Beam search on a model whose probabilities are written down."""

from __future__ import annotations

import itertools
import math

import pytest

from weft.engine.process.messages import TokenLogprobs
from weft.frontend.beam_search import BeamSearch, num_candidates
from weft.sampling_params import BeamSearchParams

EOS = 3
# P(next | last): greedy takes 1 after 0, but the best two tokens are 2, 2.
TABLE = {0: [0.0, 0.6, 0.4, 0.0], 1: [0.35, 0.3, 0.3, 0.05], 2: [0.05, 0.05, 0.85, 0.05], EOS: [0.25] * 4}


def next_tokens(last: int, count: int) -> TokenLogprobs:
    ranked = sorted(((p, i) for i, p in enumerate(TABLE[last]) if p > 0), key=lambda item: -item[0])[:count]
    return TokenLogprobs([i for _, i in ranked], [math.log(p) for p, _ in ranked], list(range(1, len(ranked) + 1)))


def run(max_tokens=2, eos=(EOS,), early_stopping="never", **params) -> BeamSearch:
    params = BeamSearchParams(max_tokens=max_tokens, **params)
    search = BeamSearch([0], params, eos_token_ids=eos, max_tokens=max_tokens, early_stopping=early_stopping)
    while search.live:
        search.advance([next_tokens(beam.tokens[-1], num_candidates(params)) for beam in search.live])
    return search


def test_one_beam_is_greedy_and_two_find_what_greedy_misses():
    assert run(beam_width=1).best()[0].tokens == [0, 1, 0]
    best = run(beam_width=2).best()[0]
    assert best.tokens == [0, 2, 2]
    assert math.isclose(best.cum_logprob, math.log(0.4 * 0.85))


def test_a_wide_search_finds_what_trying_everything_finds():
    def probability(tokens):
        return math.prod(TABLE[a][b] for a, b in itertools.pairwise(tokens))

    everything = [(0, a, b, c) for a, b, c in itertools.product(range(3), repeat=3)]
    expected = sorted(everything, key=probability, reverse=True)[:3]

    found = run(max_tokens=3, beam_width=64, eos=(), ignore_eos=True)

    tokens = [tuple(beam.tokens) for beam in found.best() if EOS not in beam.tokens][:3]
    assert {probability(t) for t in tokens} == {probability(t) for t in expected}


def test_an_ended_beam_keeps_its_score_and_its_eos():
    ended = [beam for beam in run(beam_width=10).best() if beam.finish_reason == "stop"]

    assert [beam.tokens for beam in ended] == [[0, 1, EOS], [0, 2, EOS]]
    assert [beam.stop_reason for beam in ended] == [EOS, EOS]
    assert math.isclose(ended[0].cum_logprob, math.log(0.6 * 0.05))


def test_eos_is_nothing_special_when_ignored():
    ignored = run(beam_width=10, ignore_eos=True).best()
    assert any(beam.tokens == [0, 1, EOS] and beam.finish_reason == "length" for beam in ignored)


@pytest.mark.parametrize(("early_stopping", "steps", "best"), [
    (True, 1, math.log(0.3)),       # one ended beam is as many as the width
    (False, 2, math.log(0.3)),      # at the second step the live beam has fallen behind the ended one
    ("never", 3, math.log(0.3))])
def test_early_stopping_says_when_a_search_with_enough_ended_beams_is_over(early_stopping, steps, best):
    params = BeamSearchParams(beam_width=1, max_tokens=3, length_penalty=0.0)
    search = BeamSearch([0], params, eos_token_ids=[EOS], max_tokens=3, early_stopping=early_stopping)
    taken = 0
    while search.live:
        search.advance([TokenLogprobs([2, EOS], [math.log(0.5), math.log(0.3)], [1, 2])])
        taken += 1

    assert taken == steps
    assert search.best()[0].cum_logprob == best


def test_without_stopping_at_once_a_live_beam_may_still_win():
    params = BeamSearchParams(beam_width=1, max_tokens=3, length_penalty=0.0)
    found = {}
    for early_stopping in (True, False):
        search = BeamSearch([0], params, eos_token_ids=[EOS], max_tokens=3, early_stopping=early_stopping)
        while search.live:
            search.advance([TokenLogprobs([2, EOS], [math.log(0.9), math.log(0.1)], [1, 2])])
        found[early_stopping] = search.best()[0]

    assert found[True].tokens == [0, EOS]
    assert found[False].tokens == [0, 2, 2, 2]
    assert math.isclose(found[False].cum_logprob, 3 * math.log(0.9))


@pytest.mark.parametrize(("penalty", "first"), [(0.0, [0, 1, EOS]), (8.0, [0, 2, 2, 2, 2])])
def test_a_length_penalty_above_zero_favours_long_sequences(penalty, first):
    search = BeamSearch([0], BeamSearchParams(beam_width=2, max_tokens=4, length_penalty=penalty), eos_token_ids=[EOS],
                        max_tokens=4)
    search.advance([TokenLogprobs([1, 2], [math.log(0.6), math.log(0.4)], [1, 2])])
    # one beam ends at once with a good sum, the other goes on and loses a little at each token
    search.advance([TokenLogprobs([EOS, 0], [math.log(0.9), -50.0], [1, 2]),
                    TokenLogprobs([2, 0], [math.log(0.9), -50.0], [1, 2])])
    while search.live:
        search.advance([TokenLogprobs([2, 0], [math.log(0.9), -50.0], [1, 2])] * len(search.live))

    assert search.best()[0].tokens == first

"""Long audio is cut at quiet places, into pieces that are no longer than asked, and nothing is lost."""

import numpy as np

from weft.media.quiet_cuts import cut_at_quiet

RATE = 1000


def noise(seconds):
    return np.random.default_rng(0).normal(size=int(seconds * RATE)).astype(np.float32)


def test_a_short_clip_is_one_piece():
    assert cut_at_quiet(noise(3), RATE, 3 * RATE) == [(0, 3 * RATE)]


def test_the_cut_is_in_the_silence_before_the_end():
    samples = noise(50)
    samples[27_000:27_400] = 0

    (first, second) = cut_at_quiet(samples, RATE, 30 * RATE)

    assert first[0] == 0 and 27_000 <= first[1] <= 27_400
    assert second == (first[1], 50 * RATE)


def test_pieces_follow_each_other_and_are_no_longer_than_asked():
    for length in (0.001, 10.001, 99.5):
        pieces = cut_at_quiet(noise(length), RATE, 2 * RATE)

        assert [first for first, _ in pieces] == [0, *(end for _, end in pieces[:-1])]
        assert pieces[-1][1] == int(length * RATE)
        assert all(0 < end - first <= 2 * RATE for first, end in pieces)

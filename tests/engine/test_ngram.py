"""N-gram lookup drafts what followed the text's end where it occurred before."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest
from scheduling import make_seq

from weft.engine.speculation.ngram import NgramProposer, continuation, latest_match


def propose(token_ids, *, num_drafts=3, shortest=2, longest=4):
    [drafts] = NgramProposer(num_drafts, shortest, longest).propose([make_seq("a", list(token_ids))])
    return drafts


@pytest.mark.parametrize(("text", "drafts"), [
    ([1, 2, 3, 4, 5, 9, 1, 2], [3, 4, 5]),             # what followed "1 2"
    ([1, 2, 3, 9, 1, 2, 7, 9, 1, 2], [7, 9, 1]),       # "9 1 2" is longer than "1 2"
    ([1, 2, 3, 5, 5, 1, 2, 4, 6, 6, 1, 2], [4, 6, 6]), # of equal lengths the latest
    ([1, 2, 1, 2], [1, 2, 1]),                         # the text goes on as it did: nothing is short
    ([7, 7, 7], [7, 7, 7]),
    ([1, 2, 3, 9, 8, 2], []),                          # one token alone is less than `shortest`
    ([1, 2, 3, 4], []),
    ([1], []),
])
def test_drafts_are_what_followed_the_last_tokens_before(text, drafts):
    assert propose(text) == drafts


def test_no_more_than_the_longest_n_gram_is_compared():
    text = [5, 1, 2, 3, 8, 9, 4, 1, 2, 3, 6, 9, 5, 1, 2, 3]

    assert propose(text, longest=4) == [8, 9, 4]        # "5 1 2 3"
    assert propose(text, longest=3) == [6, 9, 5]        # "1 2 3", the latest


def test_the_lookup_is_that_of_a_search_over_all_places():
    draw = random.Random(3)
    for _ in range(300):
        text = [draw.randrange(3) for _ in range(draw.randrange(1, 40))]
        shortest = draw.randrange(1, 4)
        longest = shortest + draw.randrange(3)
        found = [(n, end) for n in range(shortest, longest + 1) for end in range(n, len(text))
                 if text[end - n : end] == text[len(text) - n :]]

        assert latest_match(np.array(text, dtype=np.int32), shortest, longest) == (max(found)[1] if found else None)


def test_a_continuation_repeats_from_its_beginning_when_the_text_ends():
    assert continuation(np.array([1, 2, 3, 1, 2, 3]), 3, 7) == [1, 2, 3, 1, 2, 3, 1]


def test_a_text_that_grows_is_looked_up_whole_and_forgotten_with_its_sequence():
    proposer, seq = NgramProposer(2, 2, 2), make_seq("a", [1, 2, 3])
    assert proposer.propose([seq]) == [[]]
    for token_id in [4] * 50 + [1, 2]:
        seq.token_ids.append(token_id)
        proposer.propose([seq])

    assert proposer.propose([seq]) == [[3, 4]]
    del seq
    gc.collect()
    assert not proposer._texts

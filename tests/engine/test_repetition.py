"""DRY finds the passages that the text's end repeats, and the tokens that followed them."""

import random

from weft.engine.repetition import LONGEST, repeated_lengths


def slowly(token_ids, breakers):
    """The definition: every earlier place, compared token by token."""
    found = {}
    for place in range(1, len(token_ids)):
        length = 0
        while (length < min(place, LONGEST) and token_ids[place - 1 - length] == token_ids[-1 - length]
               and token_ids[-1 - length] not in breakers):
            length += 1
        if length:
            found[token_ids[place]] = max(length, found.get(token_ids[place], 0))
    return found


def test_a_passage_that_comes_again_is_counted_for_the_token_that_followed():
    assert repeated_lengths([1, 2, 3, 4, 9, 2, 3], ()) == {4: 2}
    assert repeated_lengths([1, 2, 3, 4, 9, 8], ()) == {}
    assert repeated_lengths([7], ()) == {} == repeated_lengths([], ())


def test_of_several_passages_the_longest_counts():
    assert repeated_lengths([1, 2, 5, 0, 2, 5, 0, 9, 2], ()) == {5: 1}
    assert repeated_lengths([3, 1, 2, 5, 8, 2, 5, 8, 1, 2], ()) == {5: 2}


def test_a_passage_ends_at_a_breaker():
    assert repeated_lengths([1, 2, 3, 4, 1, 2, 3], {2}) == {4: 1}
    assert repeated_lengths([1, 2, 3, 4, 1, 2, 3], {3}) == {}


def test_it_is_the_definition_on_any_text():
    chance = random.Random(5)
    for size in (2, 3, 5):
        for _ in range(60):
            text = [chance.randrange(size) for _ in range(chance.randrange(1, 40))]
            assert repeated_lengths(text, {0}) == slowly(text, {0})
            assert repeated_lengths(text, ()) == slowly(text, ())

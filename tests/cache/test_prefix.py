"""Block keys: equal exactly when all that a block's keys and values depend on is equal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.cache.prefix import extend_block_keys


def keys(token_ids: list[int], *, num_blocks: int, salt: str | None = None, block_size: int = 2) -> list[bytes]:
    found: list[bytes] = []
    extend_block_keys(found, token_ids, block_size, num_blocks, salt)
    return found


def test_equal_prefixes_have_equal_keys_up_to_the_first_different_block():
    one, other = keys([1, 2, 3, 4, 5, 6], num_blocks=3), keys([1, 2, 3, 9, 5, 6], num_blocks=3)

    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[2] != other[2]                     # same tokens, but what came before differs


def test_a_block_repeated_at_another_place_has_another_key():
    first, second = keys([1, 2, 1, 2], num_blocks=2)

    assert first != second


def test_the_salt_changes_every_key_of_the_sequence():
    plain, salted = keys([1, 2, 3, 4], num_blocks=2), keys([1, 2, 3, 4], num_blocks=2, salt="team")

    assert not set(plain) & set(salted)


def test_an_empty_salt_is_not_the_same_as_none():
    assert keys([1, 2], num_blocks=1, salt="") != keys([1, 2], num_blocks=1)


def test_a_salt_cannot_imitate_tokens():
    imitation = (7).to_bytes(8, "little").decode()

    assert keys([1], num_blocks=1, salt=imitation, block_size=1) != keys([1, 7], num_blocks=1, block_size=2)


def test_a_salt_that_is_not_valid_unicode_still_has_a_key():
    assert len(keys([1, 2], num_blocks=1, salt="\ud800")) == 1


def test_an_unfinished_block_has_no_key():
    assert len(keys([1, 2, 3], num_blocks=1)) == 1
    assert keys([1, 2, 3], num_blocks=0) == []


@given(st.lists(st.integers(0, 2**40), min_size=8, max_size=8), st.integers(0, 4), st.sampled_from([None, "", "salt"]))
def test_keys_made_in_two_goes_are_the_keys_made_at_once(token_ids, first, salt):
    grown = keys(token_ids, num_blocks=first, salt=salt)
    extend_block_keys(grown, token_ids, 2, 4, salt)

    assert grown == keys(token_ids, num_blocks=4, salt=salt)

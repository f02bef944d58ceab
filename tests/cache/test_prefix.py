"""Block keys: equal exactly when all that a block's keys and values depend on is equal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.cache.prefix import extend_block_keys


def keys(token_ids: list[int], *, num_blocks: int, block_size: int = 2, extras=lambda start, end: b"") -> list[bytes]:
    found: list[bytes] = []
    extend_block_keys(found, token_ids, block_size, num_blocks, extras)
    return found


def test_equal_prefixes_have_equal_keys_up_to_the_first_different_block():
    one, other = keys([1, 2, 3, 4, 5, 6], num_blocks=3), keys([1, 2, 3, 9, 5, 6], num_blocks=3)

    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[2] != other[2]                     # same tokens, but what came before differs


def test_a_block_repeated_at_another_place_has_another_key():
    first, second = keys([1, 2, 1, 2], num_blocks=2)

    assert first != second


def test_extras_of_a_block_change_its_key_and_those_of_all_blocks_after_it():
    plain = keys([1, 2, 3, 4, 5, 6], num_blocks=3)
    marked = keys([1, 2, 3, 4, 5, 6], num_blocks=3, extras=lambda start, end: b"image" if start == 2 else b"")

    assert plain[0] == marked[0]
    assert not set(plain[1:]) & set(marked[1:])


def test_extras_are_asked_for_by_the_tokens_of_each_block():
    asked = []

    keys([1, 2, 3, 4, 5], num_blocks=2, extras=lambda start, end: bytes(asked.append((start, end)) or 0))

    assert asked == [(0, 2), (2, 4)]


def test_extras_cannot_imitate_tokens():
    imitation = (7).to_bytes(8, "little")

    assert keys([1], num_blocks=1, block_size=1, extras=lambda *_: b"salt:" + imitation) != keys([1, 7], num_blocks=1)


def test_an_unfinished_block_has_no_key():
    assert len(keys([1, 2, 3], num_blocks=1)) == 1
    assert keys([1, 2, 3], num_blocks=0) == []


@given(st.lists(st.integers(-1, 2**40), min_size=8, max_size=8), st.integers(0, 4), st.binary(max_size=3))
def test_keys_made_in_two_goes_are_the_keys_made_at_once(token_ids, first, extra):
    def extras(start: int, end: int) -> bytes:
        return extra * (start // 2)

    grown = keys(token_ids, num_blocks=first, extras=extras)
    extend_block_keys(grown, token_ids, 2, 4, extras)

    assert grown == keys(token_ids, num_blocks=4, extras=extras)

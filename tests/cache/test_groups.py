"""Cache groups: how many blocks a window hides, and the most that a sequence holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.cache.groups import CacheGroup
from weft.errors import ConfigError

FULL = CacheGroup(None, (0,), 8)


def window(size: int) -> CacheGroup:
    return CacheGroup(size, (0,), 8)


def test_a_full_group_hides_nothing_and_holds_every_token():
    assert FULL.num_hidden_blocks(1000, 16) == 0
    assert FULL.num_blocks(33, 16, 8) == 3


def test_a_window_hides_the_blocks_that_end_before_it():
    # Window 6: the query at position 9 sees 4 to 9, the one at 13 sees 8 to 13.
    assert window(6).num_hidden_blocks(8, 4) == 0
    assert window(6).num_hidden_blocks(9, 4) == 1
    assert window(6).num_hidden_blocks(12, 4) == 1
    assert window(6).num_hidden_blocks(13, 4) == 2


def test_a_window_of_one_token_needs_nothing_of_what_is_computed():
    assert window(1).num_hidden_blocks(8, 4) == 2


def test_a_short_sequence_needs_no_more_blocks_in_a_window_than_in_a_full_group():
    assert window(100).num_blocks(9, 4, 64) == 3


def test_a_long_sequence_needs_its_window_and_one_chunk_wherever_the_borders_fall():
    # 5 tokens before the query and a chunk of 3 span 8 tokens: 3 blocks when they start inside one.
    assert window(6).num_blocks(1000, 4, 3) == 3


def test_an_impossible_window_is_refused():
    with pytest.raises(ConfigError, match="sliding_window = 0"):
        window(0)


@given(size=st.integers(1, 40), chunk=st.integers(1, 20), block_size=st.sampled_from([1, 2, 4, 16]),
       start=st.integers(0, 99))
def test_no_chunk_of_a_sequence_ever_spans_more_blocks_than_the_peak(size, chunk, block_size, start):
    group = window(size)
    held = -(-(start + chunk) // block_size) - group.num_hidden_blocks(start, block_size)

    assert held <= group.num_blocks(start + chunk, block_size, chunk)

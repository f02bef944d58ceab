"""Cache groups: how many blocks a window leaves behind, and the most that a sequence holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.cache.groups import EncoderGroup, FullGroup, StateGroup, WindowGroup


def window(size: int, block_size: int = 4) -> WindowGroup:
    return WindowGroup(size, (0,), 8, block_size)


def test_a_full_group_holds_every_token():
    assert FullGroup((0,), 8, 16).num_blocks(33, 8, 0) == 3


def test_a_window_leaves_behind_the_blocks_that_end_before_it():
    # Window 6: the query at position 9 sees 4 to 9, the one at 13 sees 8 to 13.
    assert window(6).num_left_behind(8) == 0
    assert window(6).num_left_behind(9) == 1
    assert window(6).num_left_behind(12) == 1
    assert window(6).num_left_behind(13) == 2


def test_a_window_of_one_token_needs_nothing_of_what_is_computed():
    assert window(1).num_left_behind(8) == 2


def test_a_short_sequence_needs_no_more_blocks_in_a_window_than_in_a_full_group():
    assert window(100).num_blocks(9, 64, 0) == 3


def test_a_long_sequence_needs_its_window_and_one_chunk_wherever_the_borders_fall():
    # 5 tokens before the query and a chunk of 3 span 8 tokens: 3 blocks when they start inside one.
    assert window(6).num_blocks(1000, 3, 0) == 3


@given(size=st.integers(1, 40), chunk=st.integers(1, 20), block_size=st.sampled_from([1, 2, 4, 16]),
       start=st.integers(0, 99))
def test_no_chunk_of_a_sequence_ever_spans_more_blocks_than_the_peak(size, chunk, block_size, start):
    group = window(size, block_size)
    held = -(-(start + chunk) // block_size) - group.num_left_behind(start)

    assert held <= group.num_blocks(start + chunk, chunk, 0)


def test_groups_say_what_their_layers_see():
    groups = FullGroup((0,), 8, 4), window(6), StateGroup((0,), 100, 32), EncoderGroup((0,), 8, 4)

    assert [group.words for group in groups] == [
        "all tokens", "window 6", "one state, kept for prefixes every 32 tokens", "the encoder's tokens"]

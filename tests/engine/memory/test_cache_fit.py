"""How the bytes of a cache are divided among groups of tokens, states and an encoder's tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from made_config import made_config

from weft.cache.groups import CacheGroup, EncoderGroup, FullGroup, StateGroup, WindowGroup
from weft.engine.memory.cache_fit import CacheFit

FULL = FullGroup((0,), 10, 16)                 # 160 bytes a block
WINDOW = WindowGroup(32, (1,), 10, 16)
STATE = StateGroup((2,), 1000, 256)            # as many bytes as 100 tokens of FULL
ENCODER = EncoderGroup((3,), 10, 16)


def fit(*groups: CacheGroup, length: int = 1024, seqs: int = 4, prefix_caching: bool = True, **options) -> CacheFit:
    return CacheFit(groups, made_config(length=length, seqs=seqs, enable_prefix_caching=prefix_caching), **options)


def test_groups_of_tokens_get_equally_many_blocks_until_a_window_has_enough():
    assert fit(FULL, WINDOW).fit(20 * 160).num_blocks == (10, 10)
    full, window = fit(FULL, WINDOW).fit(1 << 30).num_blocks
    assert full == 4 * 1024 // 16
    assert window == 4 * (3 + 1) + 4           # 4 sequences of 3 blocks and one that is begun, and a step of 64 tokens


def test_windows_alone_hold_a_whole_context_in_fewer_blocks():
    fitted = fit(WINDOW, seqs=1).fit(1 << 30)

    assert fitted == ((1 * (3 + 1) + 4,), 1024)
    assert fit(WINDOW, seqs=1).fit(fit(WINDOW, seqs=1).least_bytes(1024)) == fitted
    assert fit(WINDOW, seqs=1).fit(8 * 160 - 1).num_tokens == 7 * 16


def test_a_model_of_states_alone_holds_sequences_of_any_length_two_states_each():
    fitted = fit(STATE, prefix_caching=False).fit(5_500)

    assert fitted == ((5,), 1024)
    assert fit(STATE, prefix_caching=False).fit(1 << 30).num_blocks == (4 * 2,)


def test_states_kept_for_prefixes_are_one_each_interval_of_every_sequence():
    assert fit(STATE).fit(1 << 30).num_blocks == (4 * (2 + 1024 // 256),)


def test_less_than_two_states_hold_no_sequence():
    assert fit(STATE).fit(1_999).num_tokens == 0
    assert fit(STATE).least_bytes(1) == 2_000


def test_states_take_half_of_the_bytes_where_a_whole_context_fits_beside_them():
    states, blocks = fit(STATE, FULL).fit(22_000).num_blocks       # a context needs 64 blocks, 10,240 bytes

    assert states == 11
    assert blocks == 11_000 // 160


def test_states_leave_one_whole_context_its_bytes():
    states, blocks = fit(STATE, FULL).fit(13_000).num_blocks

    assert (states, blocks) == (2, 64 + 4)                         # 2,760 are left: two states, and more tokens


def test_a_hybrid_that_cannot_hold_a_whole_context_has_the_states_of_one_sequence():
    fitted = fit(STATE, FULL).fit(4_000)

    assert fitted == ((2, 12), 12 * 16)


def test_what_tokens_cannot_use_goes_to_the_states():
    states, blocks = fit(STATE, FULL, seqs=1, length=160).fit(10_000).num_blocks

    assert blocks == 10
    assert states == 2                                             # one sequence too short for a snapshot


def test_an_encoder_has_room_for_its_longest_input_at_least():
    assert fit(ENCODER, FULL, max_encoder_len=100).least_bytes(1) == (7 + 1) * 160
    assert fit(ENCODER, FULL, max_encoder_len=100).fit(10 * 160) == ((7, 3), 48)
    assert fit(ENCODER, FULL, max_encoder_len=100).fit(1 << 30).num_blocks == (4 * 7, 256)
    assert fit(ENCODER, FULL, max_encoder_len=100).fit(7 * 160).num_tokens == 0


def test_a_model_without_caches_needs_no_bytes_and_limits_no_sequence():
    assert fit().fit(0) == ((), 1024)
    assert fit().least_bytes(1024) == 0


@given(num_bytes=st.integers(0, 100_000), groups=st.sampled_from(
    [(FULL,), (WINDOW,), (FULL, WINDOW), (STATE,), (STATE, FULL, WINDOW), (ENCODER, FULL, STATE)]))
def test_groups_never_take_more_than_the_bytes_and_hold_the_sequence_that_they_promise(groups, num_bytes):
    candidate = fit(*groups, max_encoder_len=40)
    num_blocks, num_tokens = candidate.fit(num_bytes)
    longest = min(num_tokens, 1024)

    assert sum(num * group.block_bytes for num, group in zip(num_blocks, groups, strict=True)) <= num_bytes
    assert (num_tokens > 0) == (candidate.least_bytes(1) <= num_bytes)
    assert not longest or all(num >= group.num_blocks(longest, 64, 40)
                              for num, group in zip(num_blocks, groups, strict=True))

"""The cache manager: prefixes found across groups, windows that free their blocks, blocks for whole sequences."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from weft.cache.groups import FREED, CacheGroup, EncoderGroup, FullGroup, StateGroup, WindowGroup
from weft.cache.manager import CacheManager
from weft.cache.masks import Bidirectional
from weft.errors import ConfigError

BLOCK_SIZE = 4


@dataclass
class Holder:
    """The least that the manager takes for a sequence."""

    token_ids: list[int]
    num_computed_tokens: int = 0
    block_ids: list[list[int]] = field(default_factory=list)
    room: int = 0
    num_encoder_tokens: int = 0
    is_encoded: bool = False
    block_keys: list[bytes] = field(default_factory=list)
    salt: bytes = b""
    reads_prefix_cache: bool = True

    def key_extras(self, start: int, end: int) -> bytes:
        return self.salt

    def encoder_keys(self, block_size: int) -> list[bytes]:
        return [b"encoder %d" % number for number in range(-(-self.num_encoder_tokens // block_size))]


def make_cache(*windows: int | None, num_blocks: int = 20, prefix_caching: bool = True) -> CacheManager:
    groups = [token_group(window) for window in windows]
    return CacheManager(groups, [num_blocks] * len(groups), prefix_caching)


def token_group(window: int | None) -> CacheGroup:
    return FullGroup((0,), 8, BLOCK_SIZE) if window is None else WindowGroup(window, (0,), 8, BLOCK_SIZE)


def start(cache: CacheManager, token_ids: list[int], **options) -> Holder:
    """A sequence with what the cache has of it; returns it with blocks for all its tokens."""
    holder = Holder(token_ids, **options)
    hit = cache.find(holder)
    cache.adopt(holder, hit)
    holder.num_computed_tokens = hit.num_tokens
    assert cache.allocate(holder, len(token_ids))
    return holder


def compute(cache: CacheManager, holder: Holder, num_tokens: int) -> None:
    """As if the model had computed the next `num_tokens`."""
    before = holder.num_computed_tokens
    holder.num_computed_tokens += num_tokens
    cache.publish(holder, before)
    cache.advance(holder)


def leave_behind(cache: CacheManager, token_ids: list[int], **options) -> None:
    """A sequence comes, is computed as one chunk and goes."""
    holder = start(cache, token_ids, **options)
    compute(cache, holder, len(token_ids) - holder.num_computed_tokens)
    cache.release(holder)
    cache.check([])


def hit_len(cache: CacheManager, token_ids: list[int], **options) -> int:
    return cache.find(Holder(token_ids, **options)).num_tokens


def test_nothing_is_found_in_an_empty_cache():
    assert hit_len(make_cache(None), list(range(12))) == 0


def test_the_whole_blocks_that_two_sequences_share_are_found():
    cache = make_cache(None)
    leave_behind(cache, list(range(14)))

    assert hit_len(cache, [*range(10), 77, 78, 79]) == 8          # blocks 0-3 and 4-7; the third differs
    assert hit_len(cache, [*range(14), 77]) == 12                 # the half block 12-13 was never whole


def test_a_full_hit_still_leaves_the_last_token_to_compute():
    cache = make_cache(None)
    leave_behind(cache, list(range(8)))

    assert hit_len(cache, list(range(8))) == 4
    assert hit_len(cache, list(range(9))) == 8


def test_only_computed_blocks_are_found():
    cache = make_cache(None)
    holder = start(cache, list(range(12)))
    compute(cache, holder, 7)

    assert hit_len(cache, list(range(12))) == 4


def test_sequences_with_different_salts_share_nothing():
    cache = make_cache(None)
    leave_behind(cache, list(range(9)), salt=b"a")

    assert hit_len(cache, list(range(9)), salt=b"a") == 8
    assert hit_len(cache, list(range(9)), salt=b"b") == 0
    assert hit_len(cache, list(range(9))) == 0


def test_a_sequence_that_does_not_read_the_cache_still_writes_to_it():
    cache = make_cache(None)
    leave_behind(cache, list(range(9)), reads_prefix_cache=False)

    assert hit_len(cache, list(range(9))) == 8
    assert hit_len(cache, list(range(9)), reads_prefix_cache=False) == 0


def test_without_prefix_caching_nothing_is_found():
    cache = make_cache(None, prefix_caching=False)
    leave_behind(cache, list(range(9)))

    assert hit_len(cache, list(range(9))) == 0


def test_two_sequences_that_share_a_prefix_share_its_blocks():
    cache = make_cache(None)
    one = start(cache, list(range(9)))
    compute(cache, one, 9)
    other = start(cache, [*range(8), 55])

    assert one.block_ids[0][:2] == other.block_ids[0][:2]
    assert one.block_ids[0][2] != other.block_ids[0][2]
    cache.check([one, other])


def test_when_two_sequences_compute_the_same_block_both_keep_theirs():
    cache = make_cache(None)
    one, other = start(cache, list(range(9))), start(cache, list(range(9)))
    compute(cache, one, 9)
    compute(cache, other, 9)

    assert not set(one.block_ids[0]) & set(other.block_ids[0])
    cache.check([one, other])
    cache.release(one)
    cache.release(other)
    cache.check([])


def test_the_end_of_a_released_sequence_is_evicted_before_its_beginning():
    cache = make_cache(None, num_blocks=3)
    leave_behind(cache, list(range(12)))

    start(cache, [50])                                            # takes one block

    assert hit_len(cache, list(range(13))) == 8


def test_a_window_frees_the_blocks_that_no_later_token_sees_and_keeps_their_places():
    cache = make_cache(6)
    holder = start(cache, list(range(12)))
    first, second, third = holder.block_ids[0]

    compute(cache, holder, 8)                                     # the next query, at 8, sees 3 to 8
    assert holder.block_ids[0] == [first, second, third]
    compute(cache, holder, 1)                                     # at 9: 4 to 9
    assert holder.block_ids[0] == [FREED, second, third]
    compute(cache, holder, 3)                                     # at 12: 7 to 12
    assert holder.block_ids[0] == [FREED, second, third]
    cache.check([holder])


def test_a_chunk_longer_than_the_window_frees_all_that_it_leaves_behind():
    cache = make_cache(6)
    holder = start(cache, list(range(16)))
    compute(cache, holder, 16)                                    # the next query, at 16, sees 11 to 16

    assert holder.block_ids[0][:2] == [FREED, FREED]
    assert FREED not in holder.block_ids[0][2:]
    assert cache.pools[0].num_held == 2


def test_in_a_windowed_group_a_hit_needs_only_the_blocks_that_the_next_token_sees():
    cache = make_cache(6)
    leave_behind(cache, list(range(16)))
    cache.pools[0].allocate(18)                                   # 16 blank ones, then 0-3 and 4-7, freed first

    hit = cache.find(Holder(list(range(17))))

    assert hit.num_tokens == 16
    assert hit.tables[0][:2] == [FREED, FREED]                 # the query at 16 sees 11 to 16
    assert FREED not in hit.tables[0][2:]


def test_in_a_hybrid_model_the_hit_is_as_long_as_all_groups_allow():
    cache = make_cache(None, 6)
    leave_behind(cache, list(range(16)))

    assert hit_len(cache, list(range(17))) == 16
    cache.pools[1].allocate(19)                                   # of the windowed blocks one is left: 8-11
    assert hit_len(cache, list(range(17))) == 0                   # a hit of 12 tokens would see 7 to 12; 4-7 is gone


def test_a_short_hit_needs_only_the_few_blocks_it_has():
    cache = make_cache(None, 6)
    leave_behind(cache, list(range(5)))

    assert hit_len(cache, list(range(17))) == 4


def test_the_full_group_shortens_a_hit_that_the_window_would_allow():
    cache = make_cache(None, 6)
    leave_behind(cache, list(range(16)))
    cache.pools[0].allocate(17)                                   # evicts the full group's last block, 12-15

    assert hit_len(cache, list(range(17))) == 12


def test_groups_with_different_windows_agree_on_the_longest_hit_for_both():
    cache = make_cache(5, 9)
    leave_behind(cache, list(range(16)))
    cache.pools[1].allocate(17)                                   # of the wide window 0-3 goes, it was freed first

    hit = cache.find(Holder(list(range(17))))

    assert hit.num_tokens == 16                                   # the narrow one sees 12 to 16, the wide one 8 to 16
    assert [ids.count(FREED) for ids in hit.tables] == [3, 2]


def test_a_sequence_gets_blocks_in_all_groups_or_in_none():
    cache = make_cache(None, 6)
    cache.pools[1].allocate(18)                                   # leaves 2 of 20
    holder = Holder(list(range(12)), block_ids=[[], []])

    assert not cache.allocate(holder, 12)
    assert holder.block_ids == [[], []]
    assert cache.allocate(holder, 8)
    assert [len(ids) for ids in holder.block_ids] == [2, 2]


def test_idle_blocks_of_a_hit_count_as_free_blocks_that_it_will_take():
    cache = make_cache(None, num_blocks=3)
    leave_behind(cache, list(range(9)))                           # 2 idle blocks, 1 blank
    hit = cache.find(Holder(list(range(9))))

    assert cache.can_hold(hit, 12, 64, 0, [0])                       # 2 idle and 1 more
    assert not cache.can_hold(hit, 12, 64, 0, [1])
    assert not cache.can_hold(hit, 13, 64, 0, [0])


def test_held_blocks_of_a_hit_need_no_free_block():
    cache = make_cache(None, num_blocks=4)
    holder = start(cache, list(range(9)))                         # holds 3 of 4
    compute(cache, holder, 9)
    hit = cache.find(Holder(list(range(9))))

    assert cache.can_hold(hit, 12, 64, 0, [0])
    assert not cache.can_hold(hit, 13, 64, 0, [0])


def test_usage_is_that_of_the_fullest_group():
    cache = CacheManager([token_group(None), token_group(6)], [10, 4], True)
    start(cache, list(range(5)))                                  # 2 blocks in each

    assert cache.usage == 0.5


def test_reset_forgets_all_prefixes_but_not_while_a_sequence_holds_blocks():
    cache = make_cache(None)
    holder = start(cache, list(range(9)))
    compute(cache, holder, 9)

    assert not cache.reset()
    assert hit_len(cache, list(range(9))) == 8
    cache.release(holder)
    assert cache.reset()
    assert hit_len(cache, list(range(9))) == 0
    cache.check([])


def test_blocks_of_one_group_must_be_a_multiple_of_those_of_another():
    with pytest.raises(ConfigError, match="block_size = 6: expected a multiple of the 4 tokens"):
        CacheManager([token_group(None), StateGroup((1,), 100, 6)], [4, 4], True)


def test_where_a_prefix_depends_on_what_follows_it_nothing_is_found():
    cache = CacheManager([FullGroup((0,), 8, BLOCK_SIZE, Bidirectional())], [20], True)
    leave_behind(cache, list(range(12)))

    assert not cache.enable_prefix_caching
    assert hit_len(cache, list(range(13))) == 0


def test_an_encoders_blocks_are_found_all_together_or_not_at_all():
    cache = CacheManager([token_group(None), EncoderGroup((1,), 8, BLOCK_SIZE)], [8, 3], True)
    first = start(cache, [1, 2], num_encoder_tokens=9)
    other = cache.find(Holder([3], num_encoder_tokens=9))
    cache.publish(first, 0)
    second = start(cache, [5], num_encoder_tokens=9)

    assert (other.is_encoded, first.is_encoded, second.is_encoded) == (False, True, True)
    assert second.block_ids[1] == first.block_ids[1]
    cache.check([first, second])

    cache.release(first)
    cache.release(second)
    third = start(cache, [6], num_encoder_tokens=1)              # has the first block's key
    fourth = Holder([7], num_encoder_tokens=9)
    assert third.is_encoded and cache.find(fourth).is_encoded
    cache.release(third)
    assert cache.reset() and not cache.find(fourth).is_encoded

"""What layers state about their cache, and the groups that come of it."""

from __future__ import annotations

import pytest

from weft.cache.groups import CacheGroup
from weft.cache.need import Bidirectional, Chunked, TokensNeed, cache_groups
from weft.errors import ConfigError


def test_layers_with_equal_windows_share_a_group_and_groups_keep_the_order_of_their_first_layers():
    needs = [TokensNeed(8, window=6), TokensNeed(8), TokensNeed(4, window=6), None, TokensNeed(16), TokensNeed(2, mask=Chunked(9))]

    assert cache_groups(needs) == (CacheGroup(6, (0, 2), 12), CacheGroup(None, (1, 4), 24), CacheGroup(None, (5,), 2))


def test_a_model_whose_layers_store_nothing_has_no_groups():
    assert cache_groups([None, None]) == ()
    assert cache_groups([]) == ()


def test_a_layer_that_reads_anothers_cache_joins_its_group_and_costs_nothing():
    assert cache_groups([TokensNeed(8), TokensNeed(0, source=0)]) == (CacheGroup(None, (0, 1), 8),)


@pytest.mark.parametrize("needs", [
    [TokensNeed(8), TokensNeed(0, window=6, source=0)],
    [TokensNeed(8, mask=Bidirectional()), TokensNeed(0, source=0)],
    [TokensNeed(8), TokensNeed(0, source=0), TokensNeed(0, source=1)],
    [TokensNeed(8), TokensNeed(0, source=1)],
    [None, TokensNeed(0, source=0)],
], ids=["window", "mask", "reads-itself-another", "itself", "stores-nothing"])
def test_a_layer_can_only_read_an_earlier_layers_own_cache_that_sees_the_same_tokens(needs):
    with pytest.raises(ConfigError, match=r"layers\[\d\]\.source = [01]: expected an earlier layer"):
        cache_groups(needs)


def test_needs_that_make_no_sense_are_refused_with_the_name_of_the_field():
    with pytest.raises(ConfigError, match="sliding_window = 0"):
        TokensNeed(8, window=0)
    with pytest.raises(ConfigError, match="attention_chunk_size = 0"):
        Chunked(0)
    with pytest.raises(ConfigError, match="bytes_per_token = 8: expected 0, because layer 0 stores"):
        TokensNeed(8, source=0)

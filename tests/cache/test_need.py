"""What layers state about their cache, and the groups that come of it."""

from __future__ import annotations

import pytest

from weft.cache.groups import EncoderGroup, FullGroup, StateGroup, WindowGroup
from weft.cache.masks import Bidirectional, Chunked
from weft.cache.need import CacheNeed, EncoderNeed, StateNeed, TokensNeed, cache_groups
from weft.errors import ConfigError


def groups_of(*needs: CacheNeed | None):
    return cache_groups(needs, block_size=4, state_interval=32)


def test_layers_with_equal_needs_share_a_group_and_groups_keep_the_order_of_their_first_layers():
    groups = groups_of(TokensNeed(8, window=6), TokensNeed(8), TokensNeed(4, window=6), None, TokensNeed(16))

    assert groups == (WindowGroup(6, (0, 2), 12, 4), FullGroup((1, 4), 24, 4))


def test_layers_whose_queries_see_other_keys_share_no_group():
    groups = groups_of(TokensNeed(8), TokensNeed(8, mask=Chunked(9)), TokensNeed(8))

    assert groups == (FullGroup((0, 2), 16, 4), FullGroup((1,), 8, 4, Chunked(9)))


def test_states_and_an_encoders_tokens_are_groups_of_their_own():
    groups = groups_of(StateNeed(100), TokensNeed(8), EncoderNeed(6), StateNeed(50), EncoderNeed(6))

    assert groups == (StateGroup((0, 3), 150, 32), FullGroup((1,), 8, 4), EncoderGroup((2, 4), 12, 4))
    assert [group.block_bytes for group in groups] == [150, 32, 48]


def test_a_model_whose_layers_store_nothing_has_no_groups():
    assert groups_of(None, None) == groups_of() == ()


def test_a_layer_that_reads_anothers_cache_joins_its_group_and_costs_nothing():
    assert groups_of(TokensNeed(8), TokensNeed(0, source=0)) == (FullGroup((0, 1), 8, 4),)


@pytest.mark.parametrize("needs", [
    [TokensNeed(8), TokensNeed(0, window=6, source=0)],
    [TokensNeed(8, mask=Bidirectional()), TokensNeed(0, source=0)],
    [TokensNeed(8), TokensNeed(0, source=0), TokensNeed(0, source=1)],
    [TokensNeed(8), TokensNeed(0, source=1)],
    [None, TokensNeed(0, source=0)],
    [StateNeed(8), TokensNeed(0, source=0)],
], ids=["window", "mask", "reads-itself-another", "itself", "stores-nothing", "state"])
def test_a_layer_can_only_read_an_earlier_layers_own_cache_that_sees_the_same_tokens(needs):
    with pytest.raises(ConfigError, match=r"layers\[\d\]\.source = [01]: expected an earlier layer"):
        groups_of(*needs)


def test_needs_that_make_no_sense_are_refused_with_the_name_of_the_field():
    with pytest.raises(ConfigError, match="sliding_window = 0"):
        TokensNeed(8, window=0)
    with pytest.raises(ConfigError, match="attention_chunk_size = 0"):
        Chunked(0)
    with pytest.raises(ConfigError, match="bytes_per_token = 8: expected 0, because layer 0 stores"):
        TokensNeed(8, source=0)

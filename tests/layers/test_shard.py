"""A shard has an equal part of what can be divided, and says so when a size does not divide."""

import pytest

from weft.errors import ConfigError
from weft.layers.shard import Shard, Span


def shards(count):
    return [Shard(index, count) for index in range(count)]


def test_parts_follow_one_another_and_keep_units_whole():
    assert [s.span("num_heads", 4).times(16) for s in shards(2)] == [Span(0, 32, 64), Span(32, 64, 64)]


def test_fewer_units_than_shards_are_held_by_several():
    spans = [s.shared("num_kv_heads", 2).times(8) for s in shards(4)]

    assert spans == [Span(0, 8, 16), Span(0, 8, 16), Span(8, 16, 16), Span(8, 16, 16)]


def test_more_units_than_shards_are_divided():
    assert [s.shared("num_kv_heads", 4) for s in shards(2)] == [Span(0, 2, 4), Span(2, 4, 4)]


def test_a_vocabulary_is_divided_to_within_a_row_and_none_is_padded():
    assert [s.nearly_equal("vocab_size", 11) for s in shards(4)] == [
        Span(0, 2, 11), Span(2, 5, 11), Span(5, 8, 11), Span(8, 11, 11)]


def test_one_of_one_has_all():
    assert Shard(0, 1).span("num_heads", 4).is_whole
    assert not Shard(0, 2).span("num_heads", 4).is_whole


@pytest.mark.parametrize(("divide", "said"), [
    (lambda: Shard(0, 3).span("intermediate_size", 64), "intermediate_size = 64: expected a multiple of the 3 shards"),
    (lambda: Shard(0, 4).shared("num_kv_heads", 6), "num_kv_heads = 6: expected a multiple of the 4 shards"),
    (lambda: Shard(0, 4).shared("num_kv_heads", 3), "num_kv_heads = 3: expected a divisor or a multiple of the 4"),
    (lambda: Shard(0, 4).nearly_equal("vocab_size", 3), "vocab_size = 3: expected at least one for each of 4 shards"),
    (lambda: Shard(2, 2), "shard.index = 2: expected 0 to 1, below shard.count"),
    (lambda: Shard(-1, 2), "shard.index = -1"),
])
def test_a_size_that_does_not_divide_is_an_error_with_size_and_count(divide, said):
    with pytest.raises(ConfigError, match=f"^{said}"):
        divide()

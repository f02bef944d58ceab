"""Rows of media items are kept by digest, shared, and dropped oldest first when room is needed."""

from weft.cache.encoder_cache import EncoderCache

A, B, C = b"a", b"b", b"c"


def test_an_item_is_shared_and_stays_when_nobody_holds_it():
    cache = EncoderCache(10)

    assert cache.hold("one", A, 4) == cache.hold("two", A, 4) == []
    cache.let_go("one")
    cache.let_go("two", [A])

    assert A in cache
    assert (cache.num_rows, cache.queries, cache.hits) == (4, 2, 1)
    cache.check([])


def test_holding_again_counts_once():
    cache = EncoderCache(10)
    cache.hold("one", A, 4)
    cache.hold("one", A, 4)

    assert (cache.queries, cache.hits) == (1, 0)


def test_what_was_let_go_first_goes_first_and_what_is_held_stays():
    cache = EncoderCache(10)
    for digest in (A, B):
        cache.hold("one", digest, 4)
    cache.let_go("one", [B])
    cache.let_go("one", [A])
    cache.hold("one", B, 4)

    assert cache.has_room(6)
    assert cache.hold("two", C, 6) == [A]
    assert B in cache
    assert not cache.has_room(1)
    cache.check(["one", "two"])


def test_one_item_alone_may_be_larger_than_the_cache():
    cache = EncoderCache(10)

    assert cache.has_room(11)
    cache.hold("one", A, 11)
    assert not cache.has_room(1)
    cache.let_go("one")
    assert cache.hold("two", B, 3) == [A]


def test_all_that_nobody_holds_can_be_forgotten_at_once():
    cache = EncoderCache(20)
    for digest in (A, B, C):
        cache.hold("one", digest, 4)
    cache.let_go("one", [A, C])

    assert cache.clear() == [A, C]
    assert (B in cache, cache.num_rows) == (True, 4)
    cache.check(["one"])

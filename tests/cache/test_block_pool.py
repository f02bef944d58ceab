"""The block pool: who holds a block, which are free, what is found again."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from weft.cache.block_pool import BlockPool

A, B, C = b"a", b"b", b"c"


def published(pool: BlockPool, *keys: bytes) -> list[int]:
    """Held blocks with these contents."""
    block_ids = pool.allocate(len(keys))
    for block_id, key in zip(block_ids, keys, strict=True):
        pool.publish(block_id, key)
    return block_ids


def test_a_new_pool_hands_out_each_of_its_blocks_once():
    pool = BlockPool(3)

    assert sorted(pool.allocate(3)) == [0, 1, 2]
    assert pool.num_free == 0
    assert pool.num_held == 3


def test_a_published_block_is_found_while_it_is_held_and_after_its_release():
    pool = BlockPool(2)
    [block_id] = published(pool, A)

    assert pool.find(A) == block_id
    pool.release([block_id])

    assert pool.find(A) == block_id
    assert pool.num_free == 2


def test_a_released_block_that_was_never_published_is_not_found_again():
    pool = BlockPool(1)
    pool.release(pool.allocate(1))

    assert pool.find(A) is None
    assert A not in pool


def test_the_least_recently_released_prefix_is_the_first_to_be_evicted():
    pool = BlockPool(3)
    a, b, c = published(pool, A, B, C)
    pool.release([b])
    pool.release([a])
    pool.release([c])

    assert pool.allocate(1) == [b]
    assert [key in pool for key in (A, B, C)] == [True, False, True]
    assert pool.allocate(1) == [a]
    pool.check()


def test_blocks_without_content_are_taken_before_any_prefix_is_evicted():
    pool = BlockPool(2)
    [keyed] = published(pool, A)
    pool.release([keyed])
    blank = pool.allocate(1)
    pool.release(blank)

    assert pool.allocate(1) == blank
    assert pool.find(A) == keyed


def test_a_prefix_that_is_acquired_again_cannot_be_evicted_until_its_last_holder_releases_it():
    pool = BlockPool(1)
    [block_id] = published(pool, A)
    pool.release([block_id])
    pool.acquire([block_id])
    pool.acquire([block_id])
    pool.release([block_id])

    assert pool.num_free == 0
    assert pool.is_held(block_id)
    pool.release([block_id])
    assert pool.num_free == 1


def test_of_two_blocks_with_one_content_the_first_is_found_and_both_stay_held():
    pool = BlockPool(2)
    first, second = published(pool, A, A)

    assert pool.find(A) == first
    pool.check()
    pool.release([second])
    assert pool.find(A) == first
    assert pool.num_free == 1


def test_after_forget_nothing_is_found_and_held_blocks_stay_held():
    pool = BlockPool(3)
    a, b = published(pool, A, B)
    pool.release([a])
    pool.forget()

    assert A not in pool and B not in pool
    assert pool.is_held(b)
    assert pool.num_free == 2
    pool.check()


def test_check_notices_a_block_that_is_released_twice():
    pool = BlockPool(2)
    block_ids = pool.allocate(1)
    pool.release(block_ids)
    pool.release(block_ids)

    with pytest.raises(AssertionError, match="0 held, 0 idle, 2 blank of 2 blocks"):
        pool.check()


class PoolMachine(RuleBasedStateMachine):
    """A pool beside a plain account of who holds what and what was written where."""

    NUM_BLOCKS = 5
    KEYS = st.sampled_from([bytes([n]) for n in range(8)])

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(self.NUM_BLOCKS)
        self.references: Counter[int] = Counter()
        self.content: dict[int, bytes] = {}       # of every block, since it was last handed out

    @rule(num=st.integers(0, 3))
    def allocate(self, num):
        if num > self.pool.num_free:
            return
        for block_id in self.pool.allocate(num):
            assert self.references[block_id] == 0
            self.references[block_id] = 1
            self.content.pop(block_id, None)

    @rule(key=KEYS)
    def acquire(self, key):
        block_id = self.pool.find(key)
        if block_id is not None:
            self.pool.acquire([block_id])
            self.references[block_id] += 1

    @precondition(lambda self: self.references.total())
    @rule(data=st.data())
    def release(self, data):
        block_id = data.draw(st.sampled_from(sorted(self.references.elements())))
        self.pool.release([block_id])
        self.references[block_id] -= 1

    @precondition(lambda self: any(block_id not in self.content for block_id in self.references.elements()))
    @rule(data=st.data(), key=KEYS)
    def publish(self, data, key):
        block_id = data.draw(st.sampled_from(sorted(set(self.references.elements()) - self.content.keys())))
        self.pool.publish(block_id, key)
        self.content[block_id] = key
        assert key in self.pool

    @rule()
    def forget(self):
        self.pool.forget()
        self.content.clear()

    @invariant()
    def books_balance(self):
        self.pool.check()
        assert self.pool.num_free == self.NUM_BLOCKS - len(set(self.references.elements()))
        assert self.pool.count_references() == self.references.total()

    @invariant()
    def what_is_found_holds_what_was_asked_for(self):
        for key in (bytes([n]) for n in range(8)):
            block_id = self.pool.find(key)
            assert block_id is None or self.content[block_id] == key


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPoolInvariants = PoolMachine.TestCase

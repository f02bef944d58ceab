"""`CacheManager`: gives sequences their blocks, in every cache group at once, and finds prefixes computed before.

Pure accounting over one `BlockPool` for each group; knows no tensor and no scheduling rule. It changes a sequence's
`block_ids` and `block_keys` and nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from weft.cache.block_pool import BlockPool
from weft.cache.groups import CacheGroup
from weft.cache.prefix import extend_block_keys

FREED = -1    # in a table: the window left this block, or never needed it


class CachedSequence(Protocol):
    """What the manager sees of a sequence. Tables of all groups are as long as each other, aligned to positions."""

    token_ids: list[int]
    num_computed_tokens: int
    block_ids: list[list[int]]
    block_keys: list[bytes]

    @property
    def cache_salt(self) -> str | None: ...

    @property
    def reads_prefix_cache(self) -> bool: ...


class CacheHit(NamedTuple):
    """A prefix in the cache: whole blocks. Valid until blocks are next allocated.

    block_ids: for each group, `FREED` where its window does not reach.
    """

    num_tokens: int
    block_ids: tuple[list[int], ...]


class CacheManager:
    """The block pools of a model.

    Args:
        num_blocks: of each group's pool.
        block_size: tokens in a block, the same in all groups.
    """

    def __init__(
        self, groups: Sequence[CacheGroup], num_blocks: Sequence[int], block_size: int, enable_prefix_caching: bool
    ) -> None:
        self.groups = tuple(groups)
        self.block_size = block_size
        self.enable_prefix_caching = enable_prefix_caching
        self.pools = tuple(BlockPool(num) for num in num_blocks)
        self._full = tuple(pool for pool, group in zip(self.pools, self.groups, strict=True) if group.window is None)
        self._windowed = tuple((index, self.pools[index], group)
                               for index, group in enumerate(self.groups) if group.window is not None)

    @property
    def has_windows(self) -> bool:
        return bool(self._windowed)

    @property
    def usage(self) -> float:
        """Held blocks / blocks, 0 to 1, of the fullest group."""
        return max((pool.num_held / pool.num_blocks for pool in self.pools if pool.num_blocks), default=0.0)

    def find(self, seq: CachedSequence) -> CacheHit:
        """The longest prefix of the sequence's known tokens that every group has. Changes nothing but `block_keys`.

        Full groups need all its blocks, a window only those that the first uncomputed token sees. The last known token
        is never part of it: it has to be computed for its logits.
        """
        if not self.enable_prefix_caching or not seq.reads_prefix_cache:
            return CacheHit(0, tuple([] for _ in self.groups))
        keys, num = seq.block_keys, (len(seq.token_ids) - 1) // self.block_size
        extend_block_keys(keys, seq.token_ids, self.block_size, num, seq.cache_salt)
        for pool in self._full:
            num = next((index for index in range(num) if keys[index] not in pool), num)
        num = self._windowed_hit(keys, num)
        return CacheHit(num * self.block_size, tuple(
            self._found(pool, group, keys, num) for pool, group in zip(self.pools, self.groups, strict=True)))

    def adopt(self, seq: CachedSequence, hit: CacheHit) -> None:
        """Starts a sequence's tables with the blocks of a hit, which `find` has just returned."""
        for pool, block_ids in zip(self.pools, hit.block_ids, strict=True):
            pool.acquire(block_id for block_id in block_ids if block_id != FREED)
        seq.block_ids = list(hit.block_ids)

    def allocate(self, seq: CachedSequence, num_tokens: int) -> bool:
        """Makes every table long enough for `num_tokens`; False, and nothing changed, if a pool has too few blocks."""
        num_blocks = -(-num_tokens // self.block_size)
        for pool, block_ids in zip(self.pools, seq.block_ids, strict=True):
            if num_blocks - len(block_ids) > pool.num_free:
                return False
        for pool, block_ids in zip(self.pools, seq.block_ids, strict=True):
            block_ids.extend(pool.allocate(num_blocks - len(block_ids)))
        return True

    def publish(self, seq: CachedSequence, start: int) -> list[bytes]:
        """Makes the blocks findable that became full since `start` tokens were computed; returns their keys."""
        first, end = start // self.block_size, seq.num_computed_tokens // self.block_size
        if not self.enable_prefix_caching or first == end:
            return []
        extend_block_keys(seq.block_keys, seq.token_ids, self.block_size, end, seq.cache_salt)
        keys = seq.block_keys[first:end]
        for pool, block_ids in zip(self.pools, seq.block_ids, strict=True):
            for block_id, key in zip(block_ids[first:end], keys, strict=True):
                pool.publish(block_id, key)
        return keys

    def free_out_of_window(self, seq: CachedSequence) -> None:
        """Releases the blocks that no token still to be computed can see."""
        for index, pool, group in self._windowed:
            block_ids = seq.block_ids[index]
            end = first = group.num_hidden_blocks(seq.num_computed_tokens, self.block_size)
            while first and block_ids[first - 1] != FREED:
                first -= 1
            if first < end:
                pool.release(block_ids[first:end])
                block_ids[first:end] = [FREED] * (end - first)

    def release(self, seq: CachedSequence) -> None:
        """Takes all blocks from a sequence. Its last ones are evicted first: more prefixes end before them."""
        for pool, block_ids in zip(self.pools, seq.block_ids, strict=True):
            pool.release(block_id for block_id in reversed(block_ids) if block_id != FREED)
        seq.block_ids = [[] for _ in self.groups]

    def reset(self) -> bool:
        """Forgets all prefixes. False, and nothing changed, while sequences hold blocks."""
        if any(pool.num_held for pool in self.pools):
            return False
        for pool in self.pools:
            pool.forget()
        return True

    def num_needed(self, num_tokens: int, max_chunk: int) -> list[int]:
        """The most blocks of each group that one sequence of `num_tokens` holds at any moment."""
        return [group.num_blocks(num_tokens, self.block_size, max_chunk) for group in self.groups]

    def num_missing(self, seq: CachedSequence, num_tokens: int, max_chunk: int) -> list[int]:
        """The blocks of each group that a running sequence has still to get on its way to `num_tokens`."""
        return [max(0, self._num_missing(group, len(block_ids), seq.num_computed_tokens, num_tokens, max_chunk))
                for group, block_ids in zip(self.groups, seq.block_ids, strict=True)]

    def can_hold(self, hit: CacheHit, num_tokens: int, max_chunk: int, num_reserved: list[int]) -> bool:
        """True if a sequence that starts with `hit` can get to `num_tokens` in free blocks, leaving the reserved ones.

        Idle blocks of the hit count as free and are taken by it, so they are needed too.
        """
        for pool, group, block_ids, reserved in zip(self.pools, self.groups, hit.block_ids, num_reserved, strict=True):
            num_idle = sum(1 for block_id in block_ids if block_id != FREED and not pool.is_held(block_id))
            missing = self._num_missing(group, len(block_ids), hit.num_tokens, num_tokens, max_chunk)
            if max(0, missing) + num_idle + reserved > pool.num_free:
                return False
        return True

    def check(self, sequences: Iterable[CachedSequence]) -> None:
        """AssertionError unless each pool balances and is held by just the tables of these sequences."""
        tables = [seq.block_ids for seq in sequences]
        for index, pool in enumerate(self.pools):
            pool.check()
            held = [block_id for table in tables for block_id in table[index] if block_id != FREED]
            assert pool.count_references() == len(held), (
                f"group {index}: {pool.count_references()} references, {len(held)} blocks in tables")
            assert all(map(pool.is_held, held)), f"group {index}: a table has a free block"
        for table in tables:
            assert len({len(block_ids) for block_ids in table}) == 1, "tables of one sequence differ in length"

    def _num_missing(
        self, group: CacheGroup, num_blocks: int, num_computed: int, num_tokens: int, max_chunk: int
    ) -> int:
        num_visible = num_blocks - group.num_hidden_blocks(num_computed, self.block_size)
        return min(-(-num_tokens // self.block_size) - num_blocks,
                   group.num_blocks(num_tokens, self.block_size, max_chunk) - num_visible)

    def _windowed_hit(self, keys: list[bytes], num: int) -> int:
        """The most blocks, `num` at most, such that each window has those that the next token sees."""
        while True:
            gaps = [gap for _, pool, group in self._windowed if (gap := self._gap(pool, group, keys, num)) is not None]
            if not gaps:
                return num
            num = min(gaps)

    def _gap(self, pool: BlockPool, group: CacheGroup, keys: list[bytes], num: int) -> int | None:
        """The last block that is missing from what the token after `num` blocks sees: a hit ends there or earlier."""
        first = group.num_hidden_blocks(num * self.block_size, self.block_size)
        return next((index for index in range(num - 1, first - 1, -1) if keys[index] not in pool), None)

    def _found(self, pool: BlockPool, group: CacheGroup, keys: list[bytes], num: int) -> list[int]:
        num_hidden = group.num_hidden_blocks(num * self.block_size, self.block_size)
        found = [block_id for key in keys[num_hidden:num] if (block_id := pool.find(key)) is not None]
        return [FREED] * num_hidden + found

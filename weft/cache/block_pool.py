"""`BlockPool`: the block allocator of one cache group: reference counts, free blocks, content keys (prefix hashes).

The pool only accounts for ids and keys; it knows no sequence, no window and no memory.

A block is in exactly one of three places:

    held    references > 0    in the tables of one or more sequences; has a key once it is full and computed
    idle    references = 0    has a key: a prefix lookup still finds it; the least recently used is evicted first
    blank   references = 0    has no key: allocated before any idle block, most recently used first (warm in the CPU)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable


class BlockPool:
    """A pool of `num_blocks` blocks with ids from 0. Each operation takes O(1) for each block in its arguments."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._num_references = [0] * num_blocks
        self._keys: list[bytes | None] = [None] * num_blocks
        self._blocks: dict[bytes, int] = {}                      # published key -> the id of its one block
        self._idle: OrderedDict[int, None] = OrderedDict()       # least recently used first
        self._blank = list(range(num_blocks - 1, -1, -1))        # taken from the end

    def __contains__(self, key: bytes) -> bool:
        """True if `find` finds a block with this content key."""
        return key in self._blocks

    @property
    def num_free(self) -> int:
        """The number of blocks that `allocate` can hand out: blank and idle ones."""
        return len(self._blank) + len(self._idle)

    @property
    def num_held(self) -> int:
        return self.num_blocks - self.num_free

    @property
    def num_published(self) -> int:
        """The number of blocks with a content key, held or idle."""
        return len(self._blocks)

    def find(self, key: bytes) -> int | None:
        """The id of the block with this content key; None if there is none.

        Call `acquire` before the next `allocate`: the block may be idle, and `allocate` evicts idle blocks.
        """
        return self._blocks.get(key)

    def find_all(self, keys: Iterable[bytes]) -> list[int]:
        """The ids of the blocks with these content keys. KeyError if one is not published."""
        return [self._blocks[key] for key in keys]

    def count_references(self) -> int:
        """The sum of the reference counts of all blocks. O(num_blocks)."""
        return sum(self._num_references)

    def is_held(self, block_id: int) -> bool:
        return self._num_references[block_id] > 0

    def is_private(self, block_id: int) -> bool:
        """True if exactly one sequence holds the block and the block has no key, so no lookup finds it."""
        return self._num_references[block_id] == 1 and self._keys[block_id] is None

    def allocate(self, num: int) -> list[int]:
        """Takes `num` blocks, each with one reference and no key. The caller has checked `num_free`."""
        taken = []
        for _ in range(num):
            block_id = self._blank.pop() if self._blank else self._evict()
            self._num_references[block_id] = 1
            taken.append(block_id)
        return taken

    def acquire(self, block_ids: Iterable[int]) -> None:
        """Adds one reference to each of these blocks, which `find` or `find_all` returned."""
        for block_id in block_ids:
            if self._num_references[block_id] == 0:
                del self._idle[block_id]
            self._num_references[block_id] += 1

    def release(self, block_ids: Iterable[int]) -> None:
        """Drops one reference of each block. Blocks that become idle are evicted later in the order given here."""
        for block_id in block_ids:
            self._num_references[block_id] -= 1
            if self._num_references[block_id]:
                continue
            if self._keys[block_id] is None:
                self._blank.append(block_id)
            else:
                self._idle[block_id] = None

    def publish(self, block_id: int, key: bytes) -> None:
        """Gives a held block its content key, so that `find` finds it. No effect if another block has this key."""
        if key not in self._blocks and self._keys[block_id] is None:
            self._blocks[key] = block_id
            self._keys[block_id] = key

    def forget(self) -> None:
        """Drops all keys: `find` finds nothing, idle blocks become blank, held blocks stay held."""
        for block_id in self._blocks.values():
            self._keys[block_id] = None
        self._blocks.clear()
        self._blank.extend(reversed(self._idle))
        self._idle.clear()

    def check(self) -> None:
        """AssertionError, with the numbers, if the counts and lists contradict each other."""
        num_held = sum(1 for count in self._num_references if count > 0)
        places = f"{num_held} held, {len(self._idle)} idle, {len(self._blank)} blank of {self.num_blocks} blocks"
        assert num_held + len(self._idle) + len(self._blank) == self.num_blocks, places
        assert min(self._num_references, default=0) >= 0, f"a block was released twice ({places})"
        free = [*self._idle, *self._blank]
        assert len(set(free)) == len(free), f"a block is free twice ({places})"
        assert not any(map(self.is_held, free)), f"a free block is held ({places})"
        assert all(self._keys[block_id] is not None for block_id in self._idle), "an idle block has no key"
        assert all(self._keys[block_id] is None for block_id in self._blank), "a blank block has a key"
        keyed = {key: block_id for block_id, key in enumerate(self._keys) if key is not None}
        assert keyed == self._blocks, f"{len(keyed)} blocks have a key, {len(self._blocks)} keys are published"

    def _evict(self) -> int:
        block_id, _ = self._idle.popitem(last=False)
        key = self._keys[block_id]
        assert key is not None, f"idle block {block_id} has no key"
        del self._blocks[key]
        self._keys[block_id] = None
        return block_id

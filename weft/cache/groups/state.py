"""`StateGroup`: one state of fixed size for each sequence, which every token changes (Mamba, short convolutions).

A step never changes what it reads: a sequence has a block to read and another one to write, and they swap roles after
the step. So a failed step can be run again. A state at a border, a multiple of `block_size` tokens, is published: that
block is a snapshot, read by whoever goes on from there and written by nobody.

    table           [read, write]      before a step; `read` is FREED where the sequence begins: all zeros
    after the step  [write, read]      or [write] if `read` may not be written: there was none, or it is a snapshot
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.cache.block_pool import BlockPool
from weft.cache.groups.group import FREED, UNLIMITED


@dataclass(frozen=True, slots=True)
class StateGroup:
    """Layers with a state. A block is the states of all of them after some token.

    block_size: tokens from one snapshot to the next. block_bytes: of all these layers' states together.
    """

    layers: tuple[int, ...]
    block_bytes: int
    block_size: int

    is_shifting = True
    is_kept_at_borders = True
    can_share_prefixes = True

    @property
    def words(self) -> str:
        return f"one state, kept for prefixes every {self.block_size} tokens"

    def num_blocks(self, num_tokens: int, max_chunk: int, num_encoder_tokens: int) -> int:
        return 2

    def grow(self, table: list[int], num_tokens: int, num_encoder_tokens: int) -> tuple[int, int]:
        return 2 - len(table), UNLIMITED

    def num_missing(
        self, table: list[int], num_computed: int, num_tokens: int, max_chunk: int, num_encoder_tokens: int
    ) -> int:
        return 2 - (len(table) - table.count(FREED))

    def num_surplus(self, table: list[int], num_tokens: int) -> int:
        return 0

    def longest_hit(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> int:
        """Only the last snapshot has to be there."""
        return next((index for index in range(num, 0, -1) if keys[index - 1] in pool), 0)

    def found(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> list[int]:
        return pool.find_all(keys[num - 1 : num]) if num else [FREED]

    def publish(self, pool: BlockPool, table: list[int], keys: Sequence[bytes], first: int, num_computed: int) -> None:
        """Only a step that ends at a border leaves the state there."""
        num, rest = divmod(num_computed, self.block_size)
        if not rest and num > first:
            pool.publish(table[1], keys[num - 1])

    def advance(self, pool: BlockPool, table: list[int], num_computed: int) -> bool:
        read, write = table
        if read != FREED and pool.is_private(read):
            table.reverse()
            return False
        if read != FREED:
            pool.release([read])
        table[:] = [write]
        return True

    def check(self, table: list[int]) -> None:
        assert len(table) in (1, 2), f"{len(table)} states of a sequence: {table}"
        assert FREED not in table[1:], f"a sequence has no state to write: {table}"

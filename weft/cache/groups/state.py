"""`StateGroup`: one recurrent state of fixed size for each sequence, updated by every token (Mamba, convolutions).

A step reads one block and writes another; the two swap roles after the step. So a failed step can be run again. A state
at a border (a multiple of `block_size` tokens) is published as a snapshot: sequences with the same prefix start from
it, and no step writes it again.

    table           [read, write]      before a step; `read` is FREED at the start of a sequence: the state is zeros
    after the step  [write, read]      or [write] if the step had no block to read, or read a snapshot
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.cache.block_pool import BlockPool
from weft.cache.groups.group import FREED, UNLIMITED


@dataclass(frozen=True, slots=True)
class StateGroup:
    """Layers with a recurrent state. One block holds the states of all these layers after one token.

    block_size: tokens from one snapshot to the next. block_bytes: bytes of all these layers' states together.
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
        """A hit needs only the snapshot at its end."""
        return next((index for index in range(num, 0, -1) if keys[index - 1] in pool), 0)

    def found(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> list[int]:
        return pool.find_all(keys[num - 1 : num]) if num else [FREED]

    def publish(self, pool: BlockPool, table: list[int], keys: Sequence[bytes], first: int, num_computed: int) -> None:
        """Publishes a snapshot if the step ended at a border; other steps leave no state at one."""
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

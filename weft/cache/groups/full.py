"""`FullGroup`: the cache of full attention: keys and values of every token, kept as long as the sequence runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.cache.block_pool import BlockPool
from weft.cache.groups.group import FREED
from weft.cache.masks import CAUSAL, Bidirectional, Mask


@dataclass(frozen=True, slots=True)
class FullGroup:
    """Layers without a window. A table has a block for each `block_size` tokens, in order.

    bytes_per_token: bytes of keys and values of all these layers together. mask: which keys each query sees.
    """

    layers: tuple[int, ...]
    bytes_per_token: int
    block_size: int
    mask: Mask = CAUSAL

    window = None
    words = "all tokens"
    is_shifting = False
    is_kept_at_borders = False

    @property
    def can_share_prefixes(self) -> bool:
        """False for bidirectional attention: there an earlier token's keys depend on later tokens."""
        return not isinstance(self.mask, Bidirectional)

    @property
    def block_bytes(self) -> int:
        return self.bytes_per_token * self.block_size

    def num_blocks(self, num_tokens: int, max_chunk: int, num_encoder_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def grow(self, table: list[int], num_tokens: int, num_encoder_tokens: int) -> tuple[int, int]:
        num_blocks, num_held = -(-num_tokens // self.block_size), len(table)
        if num_blocks <= num_held:
            return 0, num_held * self.block_size
        return num_blocks - num_held, num_blocks * self.block_size

    def num_missing(
        self, table: list[int], num_computed: int, num_tokens: int, max_chunk: int, num_encoder_tokens: int
    ) -> int:
        return max(0, -(-num_tokens // self.block_size) - len(table))

    def num_surplus(self, table: list[int], num_tokens: int) -> int:
        return max(0, len(table) - -(-num_tokens // self.block_size))

    def longest_hit(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> int:
        return next((index for index in range(num) if keys[index] not in pool), num)

    def found(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> list[int]:
        return pool.find_all(keys[:num])

    def publish(self, pool: BlockPool, table: list[int], keys: Sequence[bytes], first: int, num_computed: int) -> None:
        for index in range(first, num_computed // self.block_size):
            pool.publish(table[index], keys[index])

    def advance(self, pool: BlockPool, table: list[int], num_computed: int) -> bool:
        """Does nothing: later tokens may see every block."""
        return False

    def check(self, table: list[int]) -> None:
        assert FREED not in table, f"a block of a group without a window was freed: {table}"

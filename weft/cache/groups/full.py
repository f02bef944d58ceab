"""`FullGroup`: the cache of full attention: keys and values of every token, kept as long as the sequence runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.cache.block_pool import BlockPool
from weft.cache.groups.group import FREED
from weft.cache.groups.token_blocks import TokenBlocks
from weft.cache.masks import CAUSAL, Mask


@dataclass(frozen=True, slots=True)
class FullGroup(TokenBlocks):
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

    def num_blocks(self, num_tokens: int, max_chunk: int, num_encoder_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def num_missing(
        self, table: list[int], num_computed: int, num_tokens: int, max_chunk: int, num_encoder_tokens: int
    ) -> int:
        return max(0, -(-num_tokens // self.block_size) - len(table))

    def longest_hit(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> int:
        return next((index for index in range(num) if keys[index] not in pool), num)

    def found(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> list[int]:
        return pool.find_all(keys[:num])

    def advance(self, pool: BlockPool, table: list[int], num_computed: int) -> bool:
        """Does nothing: later tokens may see every block."""
        return False

    def check(self, table: list[int]) -> None:
        assert FREED not in table, f"a block of a group without a window was freed: {table}"

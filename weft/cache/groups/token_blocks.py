"""`TokenBlocks`: what the groups share whose tables have a block for each `block_size` tokens, in order."""

from __future__ import annotations

from collections.abc import Sequence

from weft.cache.block_pool import BlockPool
from weft.cache.masks import Bidirectional, Mask


class TokenBlocks:
    """The rules of `CacheGroup` that follow from such a table alone. The groups are frozen values with these fields."""

    __slots__ = ()

    bytes_per_token: int
    block_size: int
    mask: Mask

    @property
    def can_share_prefixes(self) -> bool:
        """False for bidirectional attention: there an earlier token's keys depend on later tokens."""
        return not isinstance(self.mask, Bidirectional)

    @property
    def block_bytes(self) -> int:
        return self.bytes_per_token * self.block_size

    def grow(self, table: list[int], num_tokens: int, num_encoder_tokens: int) -> tuple[int, int]:
        num_blocks, num_held = -(-num_tokens // self.block_size), len(table)
        if num_blocks <= num_held:
            return 0, num_held * self.block_size
        return num_blocks - num_held, num_blocks * self.block_size

    def num_surplus(self, table: list[int], num_tokens: int) -> int:
        return max(0, len(table) - -(-num_tokens // self.block_size))

    def publish(self, pool: BlockPool, table: list[int], keys: Sequence[bytes], first: int, num_computed: int) -> None:
        for index in range(first, num_computed // self.block_size):
            pool.publish(table[index], keys[index])

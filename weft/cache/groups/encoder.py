"""`EncoderGroup`: the cache of cross attention: keys and values of the encoder's tokens, written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.cache.block_pool import BlockPool
from weft.cache.groups.group import FREED, UNLIMITED


@dataclass(frozen=True, slots=True)
class EncoderGroup:
    """Layers that attend to an encoder's output. A table has a block for each `block_size` tokens of the encoder.

    A sequence gets all these blocks when it starts. Their content keys are the encoder's: sequences with the same input
    share them, and an input of which a block is missing is encoded again. A prefix hit of the decoder does not depend
    on these blocks, so this group shortens no hit.
    bytes_per_token: bytes of keys and values of all these layers together.
    """

    layers: tuple[int, ...]
    bytes_per_token: int
    block_size: int

    words = "the encoder's tokens"
    is_shifting = False
    is_kept_at_borders = False
    can_share_prefixes = True

    @property
    def block_bytes(self) -> int:
        return self.bytes_per_token * self.block_size

    def num_blocks(self, num_tokens: int, max_chunk: int, num_encoder_tokens: int) -> int:
        return -(-num_encoder_tokens // self.block_size)

    def grow(self, table: list[int], num_tokens: int, num_encoder_tokens: int) -> tuple[int, int]:
        return -(-num_encoder_tokens // self.block_size) - len(table), UNLIMITED

    def num_missing(
        self, table: list[int], num_computed: int, num_tokens: int, max_chunk: int, num_encoder_tokens: int
    ) -> int:
        return -(-num_encoder_tokens // self.block_size) - len(table)

    def num_surplus(self, table: list[int], num_tokens: int) -> int:
        return 0

    def longest_hit(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> int:
        return num

    def found(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> list[int]:
        """All blocks of the encoder's input, whose keys are given; none where one is missing."""
        return pool.find_all(keys) if all(key in pool for key in keys) else []

    def publish(self, pool: BlockPool, table: list[int], keys: Sequence[bytes], first: int, num_computed: int) -> None:
        """Publishes all blocks: one step fills them."""
        for block_id, key in zip(table, keys, strict=True):
            pool.publish(block_id, key)

    def advance(self, pool: BlockPool, table: list[int], num_computed: int) -> bool:
        """Does nothing: every step reads all encoder blocks."""
        return False

    def check(self, table: list[int]) -> None:
        assert FREED not in table, f"a block of the encoder was freed: {table}"

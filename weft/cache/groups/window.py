"""`WindowGroup`: the cache of sliding-window attention: a query sees the last `window` tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.cache.block_pool import BlockPool
from weft.cache.groups.group import FREED
from weft.cache.groups.token_blocks import TokenBlocks
from weft.cache.masks import CAUSAL, Mask


@dataclass(frozen=True, slots=True)
class WindowGroup(TokenBlocks):
    """Layers with the same window. Entry i of a table is the block of tokens i * `block_size` and following; entries
    that have left the window are `FREED`.

    window: tokens that a query sees, its own included: a query at position p sees p - window + 1 to p.
    bytes_per_token: bytes of keys and values of all these layers together. mask: narrows the window further.
    """

    window: int
    layers: tuple[int, ...]
    bytes_per_token: int
    block_size: int
    mask: Mask = CAUSAL

    is_shifting = True
    is_kept_at_borders = False

    @property
    def words(self) -> str:
        return f"window {self.window}"

    def num_left_behind(self, num_tokens: int) -> int:
        """The number of leading blocks that no query from position `num_tokens` on sees."""
        return max(0, num_tokens - self.window + 1) // self.block_size

    def num_blocks(self, num_tokens: int, max_chunk: int, num_encoder_tokens: int) -> int:
        """The blocks of `window` - 1 tokens before a chunk and of the chunk itself, for the worst block alignment."""
        span = self.window - 1 + max_chunk
        return min(-(-num_tokens // self.block_size), (span + self.block_size - 2) // self.block_size + 1)

    def num_missing(
        self, table: list[int], num_computed: int, num_tokens: int, max_chunk: int, num_encoder_tokens: int
    ) -> int:
        num_visible = len(table) - self.num_left_behind(num_computed)
        return max(0, min(-(-num_tokens // self.block_size) - len(table),
                          self.num_blocks(num_tokens, max_chunk, num_encoder_tokens) - num_visible))

    def longest_hit(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> int:
        """A hit needs only the blocks that the token after the hit sees."""
        while True:
            first = self.num_left_behind(num * self.block_size)
            gap = next((index for index in range(num - 1, first - 1, -1) if keys[index] not in pool), None)
            if gap is None:
                return num
            num = gap

    def found(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> list[int]:
        num_left_behind = self.num_left_behind(num * self.block_size)
        return [FREED] * num_left_behind + pool.find_all(keys[num_left_behind:num])

    def advance(self, pool: BlockPool, table: list[int], num_computed: int) -> bool:
        end = first = (num_computed - self.window + 1) // self.block_size       # num_left_behind, or negative
        while first > 0 and table[first - 1] != FREED:
            first -= 1
        if first < end:
            pool.release(table[first:end])
            table[first:end] = [FREED] * (end - first)
        return False

    def check(self, table: list[int]) -> None:
        num_freed = table.count(FREED)
        assert FREED not in table[num_freed:], f"a window freed a block before an earlier one: {table}"

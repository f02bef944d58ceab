"""`CacheGroup`: what the cache manager asks of a kind of cache. The kinds are the other files of this folder.

A group is a frozen value: sizes and rules. What changes is its pool and each sequence's *table*, the list of its block
ids in this group. Groups know no sequence, no scheduling rule and no tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from weft.cache.block_pool import BlockPool

FREED = -1                # in a table: no block, as no query sees its tokens any more, or nothing is stored yet
UNLIMITED = 1 << 62       # room of a table that does not grow with the tokens


class CacheGroup(Protocol):
    """One kind of cache and the layers that share its tables.

    layers: their indices in the model.
    block_size: tokens that a block stands for. block_bytes: of one block, all these layers together.
    words: what the layers see of it, for people.
    can_share_prefixes: whether what is stored of a prefix is the same whatever follows.
    is_shifting: whether `advance` changes tables.
    is_kept_at_borders: whether only a step that ends with a block leaves the block's content behind.
    """

    @property
    def layers(self) -> tuple[int, ...]: ...
    @property
    def block_size(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    @property
    def words(self) -> str: ...
    @property
    def can_share_prefixes(self) -> bool: ...
    @property
    def is_shifting(self) -> bool: ...
    @property
    def is_kept_at_borders(self) -> bool: ...

    def num_blocks(self, num_tokens: int, max_chunk: int, num_encoder_tokens: int) -> int:
        """The most blocks that one sequence of `num_tokens` holds at any moment; steps take up to `max_chunk`."""
        ...

    def grow(self, table: list[int], num_tokens: int, num_encoder_tokens: int) -> tuple[int, int]:
        """What the table needs for the next step, after which `num_tokens` are computed.

        (blocks to append, tokens that the table then has room for, counted from the sequence's first one).
        """
        ...

    def num_missing(
        self, table: list[int], num_computed: int, num_tokens: int, max_chunk: int, num_encoder_tokens: int
    ) -> int:
        """Free blocks that a sequence needs on its way from `num_computed` to `num_tokens`, beside those it holds."""
        ...

    def num_surplus(self, table: list[int], num_tokens: int) -> int:
        """Last blocks of the table that hold none of the first `num_tokens` tokens."""
        ...

    def longest_hit(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> int:
        """The most blocks, `num` at most, such that the pool has what the token after them needs.

        keys: the content keys of this group's blocks, in order.
        """
        ...

    def found(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> list[int]:
        """The table of a sequence that starts after `num` blocks, which `longest_hit` has allowed."""
        ...

    def publish(self, pool: BlockPool, table: list[int], keys: Sequence[bytes], first: int, num_computed: int) -> None:
        """Makes the blocks from number `first` on findable that the last step filled."""
        ...

    def advance(self, pool: BlockPool, table: list[int], num_computed: int) -> bool:
        """Changes the table after a step: `num_computed` tokens are computed. Releases what nobody reads any more.

        True if the table has lost its room: it lacks a block for the next step.
        """
        ...

    def check(self, table: list[int]) -> None:
        """AssertionError if the table of a running sequence cannot be one of this group."""
        ...

"""`CacheGroup`: the interface of a kind of cache to the cache manager. The other files of this folder implement it.

A group is a frozen value of sizes and rules. The changing parts are the group's `BlockPool` and each sequence's *block
table*: the list of the sequence's block ids in this group. Groups know no sequence, no scheduling rule and no tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from weft.cache.block_pool import BlockPool

FREED = -1                # table entry without a block: no query sees its tokens any more, or nothing is stored yet
UNLIMITED = 1 << 62       # room, in tokens, of a table whose size does not depend on the number of tokens


class CacheGroup(Protocol):
    """One kind of cache and the layers that share its block tables.

    layers: the layers' indices in the model.
    block_size: tokens that one block stands for. block_bytes: bytes of one block, all these layers together.
    words: a phrase for reports: the tokens that the layers see.
    can_share_prefixes: True if the stored data of a prefix does not depend on the tokens after it.
    is_shifting: True if `advance` changes tables.
    is_kept_at_borders: True if data at a block border exists only after a step that ended there (recurrent states).
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
        """The most blocks that one sequence of `num_tokens` tokens holds at any moment.

        max_chunk: the most tokens of the sequence that one step computes.
        """
        ...

    def grow(self, table: list[int], num_tokens: int, num_encoder_tokens: int) -> tuple[int, int]:
        """How the table grows for a step after which `num_tokens` tokens are computed.

        Returns (blocks to append, room): with them the table has blocks for the first `room` tokens of the sequence.
        """
        ...

    def num_missing(
        self, table: list[int], num_computed: int, num_tokens: int, max_chunk: int, num_encoder_tokens: int
    ) -> int:
        """Free blocks that a sequence still needs to get from `num_computed` to `num_tokens` computed tokens."""
        ...

    def num_surplus(self, table: list[int], num_tokens: int) -> int:
        """The number of blocks at the table's end that hold none of the first `num_tokens` tokens."""
        ...

    def longest_hit(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> int:
        """The length, in blocks, of the longest cached prefix of at most `num` blocks.

        A prefix is cached if the pool has all blocks that the next token reads. keys: the content keys of this group's
        blocks, in order.
        """
        ...

    def found(self, pool: BlockPool, keys: Sequence[bytes], num: int) -> list[int]:
        """The table of a sequence that starts with `num` cached blocks; `longest_hit` returned `num` or more."""
        ...

    def publish(self, pool: BlockPool, table: list[int], keys: Sequence[bytes], first: int, num_computed: int) -> None:
        """Publishes the content keys of the blocks that the last step filled, from block number `first` on."""
        ...

    def advance(self, pool: BlockPool, table: list[int], num_computed: int) -> bool:
        """Updates the table after a step, with `num_computed` tokens computed: releases blocks that no token reads.

        Returns True if the table lacks a block for the next step.
        """
        ...

    def check(self, table: list[int]) -> None:
        """AssertionError if the table of a running sequence cannot be one of this group."""
        ...

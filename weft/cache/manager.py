"""`CacheManager`: gives sequences their blocks in every cache group at once and finds cached prefixes.

It accounts over one `BlockPool` for each group and knows no tensor and no scheduling rule. Of a sequence it changes
`block_ids`, `room` and `block_keys` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from weft.cache.block_pool import BlockPool
from weft.cache.groups import FREED, UNLIMITED, CacheGroup, EncoderGroup
from weft.cache.prefix import extend_block_keys
from weft.errors import ConfigError


class CachedSequence(Protocol):
    """The fields of a sequence that the manager reads.

    block_ids: one block table for each group. room: the first `room` tokens have blocks in all tables.
    num_encoder_tokens: tokens of the encoder's input; 0 if the model has no encoder. is_encoded: nothing of that input
    is missing in the encoder group. encoder_keys: content keys of its blocks.
    """

    token_ids: list[int]
    num_computed_tokens: int
    block_ids: list[list[int]]
    room: int
    block_keys: list[bytes]
    num_encoder_tokens: int
    is_encoded: bool

    def encoder_keys(self, block_size: int) -> list[bytes]: ...

    @property
    def reads_prefix_cache(self) -> bool: ...

    def key_extras(self, start: int, end: int) -> bytes: ...


class CacheHit(NamedTuple):
    """A cached prefix: `num_tokens` tokens, whole blocks in every group. Valid until the next `allocate`.

    tables: one for each group: the table of a sequence that starts with these `num_tokens` tokens computed.
    is_encoded: keys and values of the encoder's input are cached, too.
    """

    num_tokens: int
    tables: tuple[list[int], ...]
    is_encoded: bool = False


class CacheManager:
    """The block pools of a model, one for each cache group.

    Args:
        num_blocks: blocks of each group's pool.
        enable_prefix_caching: ignored for a model without groups, and for one whose earlier tokens depend on later
            ones (bidirectional attention).

    Attributes:
        key_size: tokens of one content key: the size of the smallest block. A larger block uses the key of its last
            `key_size` tokens: each key hashes the whole prefix.
        hit_size: tokens of the largest block. The length of a cache hit is a multiple of it.
        border: tokens; a prefill chunk should end at a multiple of it, because recurrent states are cached only there.
            None if the model has no such states or prefix caching is off.
        is_shifting: True if `advance` does something for at least one group.
        has_states: True if a group stores recurrent states, which rejected drafts have overwritten for good.

    ConfigError if a group's block size is no multiple of the next smaller one.
    """

    def __init__(self, groups: Sequence[CacheGroup], num_blocks: Sequence[int], enable_prefix_caching: bool) -> None:
        self.groups = tuple(groups)
        self.enable_prefix_caching = enable_prefix_caching and bool(groups) and all(
            group.can_share_prefixes for group in groups)
        self.pools = tuple(BlockPool(num) for num in num_blocks)
        sizes = sorted({group.block_size for group in self.groups}) or [1]
        for small, large in pairwise(sizes):
            if large % small:
                raise ConfigError("block_size", large, expected=f"a multiple of the {small} tokens of smaller blocks")
        self.key_size, self.hit_size = sizes[0], sizes[-1]
        borders = [group.block_size for group in self.groups if group.is_kept_at_borders]
        self.border = max(borders, default=None) if self.enable_prefix_caching else None
        self._parts = tuple(enumerate(zip(self.groups, self.pools, strict=True)))
        self._shifting = tuple((index, group, pool) for index, (group, pool) in self._parts if group.is_shifting)
        self.is_shifting, self.has_states = bool(self._shifting), bool(borders)

    @property
    def usage(self) -> float:
        """The share of held blocks in the fullest group, 0 to 1."""
        return max((pool.num_held / pool.num_blocks for pool in self.pools if pool.num_blocks), default=0.0)

    @property
    def prefix_bytes(self) -> int:
        """Bytes of the blocks that a later sequence may find."""
        return sum(group.block_bytes * pool.num_published for group, pool in zip(self.groups, self.pools, strict=True))

    def find(self, seq: CachedSequence) -> CacheHit:
        """The longest prefix of the sequence's known tokens that every group has cached. Changes only `block_keys`.

        The hit never includes the last known token: the model has to compute that token for its logits.
        """
        num_tokens, reads = 0, self.enable_prefix_caching and seq.reads_prefix_cache
        if reads:
            num_keys = (len(seq.token_ids) - 1) // self.key_size
            extend_block_keys(seq.block_keys, seq.token_ids, self.key_size, num_keys, seq.key_extras)
            num_tokens = self._longest_hit(seq.block_keys, num_keys * self.key_size)
        tables, is_encoded = [], False
        for group, pool in zip(self.groups, self.pools, strict=True):
            is_encoders = isinstance(group, EncoderGroup)
            keys = self._keys_of(group, seq.block_keys) if not is_encoders else (
                seq.encoder_keys(group.block_size) if reads else [])
            tables.append(group.found(pool, keys, num_tokens // group.block_size))
            is_encoded = is_encoded or (is_encoders and bool(tables[-1]))
        return CacheHit(num_tokens, tuple(tables), is_encoded)

    def adopt(self, seq: CachedSequence, hit: CacheHit) -> None:
        """Starts a sequence's tables with the blocks of `hit`, which `find` has just returned."""
        for pool, table in zip(self.pools, hit.tables, strict=True):
            pool.acquire(block_id for block_id in table if block_id != FREED)
        seq.block_ids, seq.is_encoded = list(hit.tables), hit.is_encoded or not seq.num_encoder_tokens

    def allocate(self, seq: CachedSequence, num_tokens: int) -> bool:
        """Gives every table the blocks that the first `num_tokens` tokens need, and sets `room`.

        Returns False, with nothing changed, if a pool has too few free blocks.
        """
        room, parts, num_encoder_tokens = UNLIMITED, [], seq.num_encoder_tokens
        for group, pool, table in zip(self.groups, self.pools, seq.block_ids, strict=True):
            num, has_room_for = group.grow(table, num_tokens, num_encoder_tokens)
            if num > pool.num_free:
                return False
            parts.append((pool, table, num))
            if has_room_for < room:
                room = has_room_for
        for pool, table, num in parts:
            if num:
                table += pool.allocate(num)
        seq.room = room
        return True

    def publish(self, seq: CachedSequence, start: int) -> list[bytes]:
        """Publishes the blocks that became full since `start` tokens were computed; returns their content keys.

        After a sequence's first step also those of the encoder's input: `is_encoded` is True from then on.
        """
        if not seq.is_encoded:
            self._publish_encoded(seq)
        first, end = start // self.key_size, seq.num_computed_tokens // self.key_size
        if not self.enable_prefix_caching or first == end:
            return []
        extend_block_keys(seq.block_keys, seq.token_ids, self.key_size, end, seq.key_extras)
        for (_, (group, pool)), table in zip(self._parts, seq.block_ids, strict=True):
            if isinstance(group, EncoderGroup):
                continue
            keys = self._keys_of(group, seq.block_keys)
            group.publish(pool, table, keys, start // group.block_size, seq.num_computed_tokens)
        return seq.block_keys[first:end]

    def _publish_encoded(self, seq: CachedSequence) -> None:
        """Publishes the blocks of the encoder's input, which the sequence's first step has filled."""
        seq.is_encoded = True
        for group, pool, table in zip(self.groups, self.pools, seq.block_ids, strict=True):
            if self.enable_prefix_caching and isinstance(group, EncoderGroup):
                group.publish(pool, table, seq.encoder_keys(group.block_size), 0, 0)

    def advance(self, seq: CachedSequence) -> None:
        """Releases the blocks that no later token reads. Called after `publish`, with `num_computed_tokens` updated."""
        for index, group, pool in self._shifting:
            if group.advance(pool, seq.block_ids[index], seq.num_computed_tokens):
                seq.room = 0

    def shrink(self, seq: CachedSequence, num_tokens: int) -> None:
        """Releases the blocks after the first `num_tokens` tokens: the blocks of rejected drafts."""
        for group, pool, table in zip(self.groups, self.pools, seq.block_ids, strict=True):
            num = group.num_surplus(table, num_tokens)
            if num:
                pool.release(reversed(table[-num:]))
                del table[-num:]
            seq.room = min(seq.room, group.grow(table, num_tokens, seq.num_encoder_tokens)[1])

    def release(self, seq: CachedSequence) -> None:
        """Takes all blocks from a sequence. The last blocks are evicted first: fewer requests share a longer prefix."""
        for pool, table in zip(self.pools, seq.block_ids, strict=True):
            pool.release(block_id for block_id in reversed(table) if block_id != FREED)
        seq.block_ids = [[] for _ in self.groups]
        seq.room = 0

    def reset(self) -> bool:
        """Forgets all cached prefixes. Returns False, with nothing changed, while sequences hold blocks."""
        if any(pool.num_held for pool in self.pools):
            return False
        for pool in self.pools:
            pool.forget()
        return True

    def num_needed(self, num_tokens: int, max_chunk: int, num_encoder_tokens: int) -> list[int]:
        """For each group, the most blocks that one sequence of `num_tokens` tokens holds at any moment."""
        return [group.num_blocks(num_tokens, max_chunk, num_encoder_tokens) for group in self.groups]

    def num_missing(self, seq: CachedSequence, num_tokens: int, max_chunk: int) -> list[int]:
        """For each group, the blocks that a running sequence still needs until `num_tokens` tokens are computed."""
        return [group.num_missing(table, seq.num_computed_tokens, num_tokens, max_chunk, seq.num_encoder_tokens)
                for group, table in zip(self.groups, seq.block_ids, strict=True)]

    def can_hold(
        self, hit: CacheHit, num_tokens: int, max_chunk: int, num_encoder_tokens: int, num_reserved: list[int]
    ) -> bool:
        """True if a sequence that starts with `hit` can reach `num_tokens` tokens and leave `num_reserved` blocks free.

        num_reserved: blocks of each group. Idle blocks of the hit count as needed: they are free until `adopt`.
        """
        for (_, (group, pool)), table, reserved in zip(self._parts, hit.tables, num_reserved, strict=True):
            num_idle = sum(1 for block_id in table if block_id != FREED and not pool.is_held(block_id))
            missing = group.num_missing(table, hit.num_tokens, num_tokens, max_chunk, num_encoder_tokens)
            if missing + num_idle + reserved > pool.num_free:
                return False
        return True

    def check(self, sequences: Iterable[CachedSequence]) -> None:
        """AssertionError unless each pool is consistent and exactly the tables of these sequences hold its blocks."""
        sequences = list(sequences)
        for index, (group, pool) in self._parts:
            pool.check()
            held = [block_id for seq in sequences for block_id in seq.block_ids[index] if block_id != FREED]
            assert pool.count_references() == len(held), (
                f"group {index}: {pool.count_references()} references, {len(held)} blocks in tables")
            assert all(map(pool.is_held, held)), f"group {index}: a table has a free block"
            for seq in sequences:
                group.check(seq.block_ids[index])
        for seq in (seq for seq in sequences if seq.room):
            lacking = [group.grow(table, seq.room, seq.num_encoder_tokens)[0]
                       for group, table in zip(self.groups, seq.block_ids, strict=True)]
            assert not any(lacking), f"a sequence has room for {seq.room} tokens, but its tables lack {lacking} blocks"

    def _longest_hit(self, keys: list[bytes], num_tokens: int) -> int:
        """Tokens of the longest hit: each group in turn shortens the hit to its own longest, until all agree."""
        while True:
            before = num_tokens
            for group, pool in zip(self.groups, self.pools, strict=True):
                size = group.block_size
                num_tokens = group.longest_hit(pool, self._keys_of(group, keys), num_tokens // size) * size
            if num_tokens == before or len(self.groups) == 1:
                return num_tokens

    def _keys_of(self, group: CacheGroup, keys: list[bytes]) -> list[bytes]:
        """The content keys of the group's blocks, out of `keys` for blocks of `key_size` tokens."""
        step = group.block_size // self.key_size
        return keys if step == 1 else keys[step - 1 :: step]

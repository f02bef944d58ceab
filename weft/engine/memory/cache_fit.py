"""`CacheFit`: how many blocks each cache group gets out of a number of bytes, and the longest sequence that then fits.

Token groups get equal numbers of blocks, but a window group no more than its sequences can use. State groups get at
least two states. While token groups need blocks, state groups get at most half of the bytes; then they get the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weft.cache.groups import CacheGroup, EncoderGroup, FullGroup, StateGroup, WindowGroup
from weft.cache.masks import Bidirectional
from weft.config.engine_config import EngineConfig

_LEAST_STATES = 2           # states that a sequence needs: one to read, one to write


class FittedCache(NamedTuple):
    """num_blocks: blocks of each group. num_tokens: the longest sequence that fits, in tokens; 0 if none fits."""

    num_blocks: tuple[int, ...]
    num_tokens: int


class CacheFit:
    """Computes the sizes of a model's cache groups under the options in `config`.

    max_encoder_len: tokens of the longest encoder input, for encoder groups.
    """

    def __init__(self, groups: Sequence[CacheGroup], config: EngineConfig, *, max_encoder_len: int = 0) -> None:
        self._groups, self._block_size = tuple(groups), config.cache.block_size
        self._max_model_len = config.model.max_model_len
        self._encoder_blocks = -(-max_encoder_len // self._block_size)
        self._caps = tuple(self._cap(group, config) for group in groups)
        self._state_bytes = sum(group.block_bytes for group in groups if isinstance(group, StateGroup))
        self._max_states = max((cap for cap, group in zip(self._caps, self._groups, strict=True)
                                if isinstance(group, StateGroup)), default=0)
        self._max_blocks = max((cap for cap, group in zip(self._caps, self._groups, strict=True)
                                if not isinstance(group, StateGroup)), default=0)

    def least_bytes(self, num_tokens: int) -> int:
        """The least cache size, in bytes, in which one sequence of `num_tokens` tokens fits."""
        return self._bytes(-(-num_tokens // self._block_size), _LEAST_STATES)

    def fit(self, num_bytes: int) -> FittedCache:
        """The largest groups that fit into `num_bytes`."""
        states = self._share_of_states(num_bytes)
        blocks = self._most_blocks(num_bytes, states)
        if self._bytes(blocks, states) > num_bytes:
            return FittedCache((0,) * len(self._groups), 0)
        if self._state_bytes:
            left = num_bytes - self._bytes(blocks, 0)
            states = min(self._max_states, left // self._state_bytes)
        num_tokens = blocks * self._block_size
        if blocks == self._max_blocks:         # all that `max_num_seqs` whole contexts can use
            num_tokens = max(num_tokens, self._max_model_len)
        return FittedCache(self._counts(blocks, states), num_tokens)

    def _cap(self, group: CacheGroup, config: EngineConfig) -> int:
        """The most blocks of a group that `max_num_seqs` sequences can use, cached snapshots included."""
        length, num_seqs = config.model.max_model_len, config.scheduler.max_num_seqs
        if isinstance(group, StateGroup):
            num_snapshots = length // group.block_size if config.cache.enable_prefix_caching else 0
            return num_seqs * (_LEAST_STATES + num_snapshots)
        if isinstance(group, EncoderGroup):
            return num_seqs * self._encoder_blocks
        most = num_seqs * -(-length // self._block_size)
        chunks = -(-config.scheduler.max_num_batched_tokens // self._block_size)
        if isinstance(group, FullGroup) and isinstance(group.mask, Bidirectional):      # blocks live for one step only
            return min(most, num_seqs + chunks)
        if not isinstance(group, WindowGroup):
            return most
        return min(most, num_seqs * (group.num_blocks(length, 1, 0) + 1) + chunks)

    def _counts(self, blocks: int, states: int) -> tuple[int, ...]:
        return tuple(
            min(states, cap) if isinstance(group, StateGroup) else
            min(max(blocks, self._encoder_blocks), cap) if isinstance(group, EncoderGroup) else min(blocks, cap)
            for group, cap in zip(self._groups, self._caps, strict=True))

    def _bytes(self, blocks: int, states: int) -> int:
        counts = self._counts(blocks, states)
        return sum(count * group.block_bytes for count, group in zip(counts, self._groups, strict=True))

    def _share_of_states(self, num_bytes: int) -> int:
        """States that fit into half of the bytes, or into less if one whole context needs the rest; at least two."""
        if not self._state_bytes:
            return 0
        context = self._bytes(-(-self._max_model_len // self._block_size), 0)
        return max(_LEAST_STATES, min(self._max_states, min(num_bytes // 2, num_bytes - context) // self._state_bytes))

    def _most_blocks(self, num_bytes: int, states: int) -> int:
        low, high = 0, self._max_blocks
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._bytes(middle, states) <= num_bytes else (low, middle - 1)
        return low

"""`CacheGroup`: the attention layers that see the same tokens and therefore share one table of blocks.

Arithmetic of windows and blocks only; knows no pool and no sequence. The memory plan sizes a pool for each group.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Layers with one window.

    window: tokens a query sees, itself included: at position p it sees p - window + 1 to p. None: all before it.
    layers: their indices in the model.
    bytes_per_token: of keys and values of all these layers together.
    """

    window: int | None
    layers: tuple[int, ...]
    bytes_per_token: int

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise ConfigError("sliding_window", self.window, expected="at least 1 token, or null for no window")

    def num_hidden_blocks(self, num_tokens: int, block_size: int) -> int:
        """Blocks that the query at position `num_tokens`, and any later one, no longer sees."""
        return 0 if self.window is None else max(0, num_tokens - self.window + 1) // block_size

    def num_blocks(self, num_tokens: int, block_size: int, max_chunk: int) -> int:
        """The most blocks one sequence of `num_tokens` holds at any moment, computed `max_chunk` tokens a step or less.

        A window keeps `window` - 1 tokens before the chunk and the chunk itself, wherever block borders fall.
        """
        num_blocks = -(-num_tokens // block_size)
        if self.window is None:
            return num_blocks
        span = self.window - 1 + max_chunk
        return min(num_blocks, (span + block_size - 2) // block_size + 1)

"""`Mask`: the attention mask as plain data: which keys of its sequence a query sees. A window narrows it further."""

from __future__ import annotations

from dataclasses import dataclass

from weft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Causal:
    """The query at position p sees the keys 0 to p."""


@dataclass(frozen=True, slots=True)
class Bidirectional:
    """Every query sees all keys of its sequence, or those at most `radius` tokens before or after it.

    radius: tokens; None: no limit (ModernBERT's local layers have one).
    """

    radius: int | None = None

    def __post_init__(self) -> None:
        if self.radius is not None and self.radius < 0:
            raise ConfigError("sliding_window", self.radius, expected="at least 0 tokens, or null for no window")


@dataclass(frozen=True, slots=True)
class Chunked:
    """The query at position p sees the keys from `size` * (p // `size`) to p (chunked attention, as in Llama 4).

    size: tokens of a chunk.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError("attention_chunk_size", self.size, expected="at least 1 token")


Mask = Causal | Bidirectional | Chunked

CAUSAL = Causal()

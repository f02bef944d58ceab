"""`Shard`: which of several owners of a model's weights this one is. `Span`: what an owner has of one dimension;
`Spans`: of one in which several lie one after another.

A layer that is given a shard is built with its own heads, columns and rows only; its homes keep the spans, by which
loading cuts a checkpoint's tensors. Knows no tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.errors import ConfigError, NotBuiltError


@dataclass(frozen=True, slots=True)
class Span:
    """Entries start to stop (exclusive) of a dimension that has `size` entries in the whole model."""

    start: int
    stop: int
    size: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def is_whole(self) -> bool:
        """True when nothing of the dimension is elsewhere."""
        return len(self) == self.size

    @property
    def is_first(self) -> bool:
        """True for the owner of the first entry, who also adds what sums over owners have once: biases."""
        return self.start == 0

    @property
    def entries(self) -> slice:
        """The entries as an index."""
        return slice(self.start, self.stop)

    def times(self, unit: int) -> Span:
        """The same part of a dimension that has `unit` entries for each of this one's."""
        return Span(self.start * unit, self.stop * unit, self.size * unit)

    @staticmethod
    def of(size: int | Span) -> Span:
        """A Span unchanged, or the span of all entries for a number of entries."""
        return Span(0, size, size) if isinstance(size, int) else size


@dataclass(frozen=True, slots=True)
class Spans:
    """As Span, of a dimension that fuses several: an owner has a part of each (z and x of Mamba's product in)."""

    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return sum(map(len, self.spans))

    @property
    def size(self) -> int:
        """Entries in the whole model."""
        return sum(span.size for span in self.spans)

    @property
    def is_whole(self) -> bool:
        """As Span."""
        return all(span.is_whole for span in self.spans)

    @property
    def is_first(self) -> bool:
        """As Span."""
        return all(span.is_first for span in self.spans)

    @property
    def entries(self) -> list[int]:
        """As Span."""
        found, before = [], 0
        for span in self.spans:
            found += range(before + span.start, before + span.stop)
            before += span.size
        return found


Extent = Span | Spans


def extent(size: int | Extent) -> Extent:
    """As Span.of, for a dimension that may fuse several."""
    return Span.of(size) if isinstance(size, int) else size


@dataclass(frozen=True, slots=True)
class Shard:
    """Number `index` of `count` owners."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ConfigError("shard.index", self.index, expected=f"0 to {self.count - 1}, below shard.count")

    def span(self, name: str, size: int) -> Span:
        """This shard's part of `size` entries. ConfigError when shards would not have equal parts.

        name: of the size, for the error.
        """
        if size % self.count:
            raise ConfigError(name, size, expected=f"a multiple of the {self.count} shards",
                              hint="Use a number of shards that divides it.")
        each = size // self.count
        return Span(self.index * each, (self.index + 1) * each, size)

    def nearly_equal(self, name: str, size: int) -> Span:
        """This shard's part where parts may differ by one entry. ConfigError when a shard would have none."""
        if size < self.count:
            raise ConfigError(name, size, expected=f"at least one for each of {self.count} shards")
        return Span(self.index * size // self.count, (self.index + 1) * size // self.count, size)

    def shared(self, name: str, size: int) -> Span:
        """As `span`; of fewer entries than shards, each is held by several shards."""
        if size >= self.count:
            return self.span(name, size)
        if self.count % size:
            raise ConfigError(name, size, expected=f"a divisor or a multiple of the {self.count} shards",
                              hint="Use a number of shards that one of the two divides.")
        return Shard(self.index * size // self.count, size).span(name, size)


def needs_sums(part: str, span: Span) -> NotBuiltError:
    """For the forward pass of a part that reads sums over all shards, which nobody makes yet."""
    return NotBuiltError(part, span, expected="all of it in one place",
                         hint="It needs numbers of all shards, and weft exchanges none yet: run the model unsharded.")

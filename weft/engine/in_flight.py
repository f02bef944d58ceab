"""`BlocksInFlight`: the full blocks that running prefills will publish, and the sequences that wait for these blocks.

Sequences with a common prefix often arrive together, for example the n sequences of one request. The first computes the
prefix; the others are held until the prefix is in the cache. The class knows content keys only, no block and no pool.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.engine.sequence import Sequence


class BlocksInFlight:
    """Each key in flight has a maker (the running prefill that computes it). Each held sequence awaits one such key."""

    def __init__(self) -> None:
        self._makers: dict[bytes, Sequence] = {}
        self._held: dict[bytes, list[Sequence]] = {}      # awaited key -> held sequences
        self.num_held = 0                                 # held sequences that have not been aborted meanwhile

    def start(self, seq: Sequence, keys: Iterable[bytes]) -> None:
        """Notes that the prefill of `seq` starts and will compute the blocks with these keys."""
        for key in keys:
            self._makers.setdefault(key, seq)

    def hold(self, seq: Sequence, keys: Iterable[bytes]) -> bool:
        """Holds `seq` if other sequences are computing its next blocks; returns True if it is held.

        keys: content keys of the next blocks of `seq`, in order. `published` returns a held sequence as soon as the
        last block that others compute for it is in the cache.
        """
        awaited = None
        for key in keys:
            if key not in self._makers:
                break
            awaited = key
        if awaited is None:
            return False
        self._held.setdefault(awaited, []).append(seq)
        self.num_held += 1
        return True

    def discard(self) -> None:
        """Notes that a held sequence was aborted. `published` will not return it."""
        self.num_held -= 1

    def published(self, keys: Iterable[bytes]) -> list[Sequence]:
        """Notes that the blocks with these keys are in the cache; returns the sequences that awaited them."""
        freed: list[Sequence] = []
        if self._makers:
            for key in keys:
                self._makers.pop(key, None)
                freed += self._held.pop(key, ())
        alive = [seq for seq in freed if seq.finish_reason is None]
        self.num_held -= len(alive)
        return alive

    def stopped(self, seq: Sequence) -> list[Sequence]:
        """Notes that `seq` stops (aborted or preempted); returns the sequences that awaited blocks it has not computed.
        """
        return self.published([key for key in seq.block_keys if self._makers.get(key) is seq])

    def check(self, running: Iterable[Sequence]) -> None:
        """AssertionError unless all makers run and every held sequence awaits a key in flight."""
        assert set(self._makers.values()) <= set(running), "a block in flight has a maker that does not run"
        assert self._held.keys() <= self._makers.keys(), "a sequence is held for a block that nobody computes"
        num_alive = sum(seq.finish_reason is None for seqs in self._held.values() for seq in seqs)
        assert num_alive == self.num_held, f"{num_alive} sequences are held, {self.num_held} counted"

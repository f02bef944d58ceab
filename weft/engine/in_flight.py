"""`BlocksInFlight`: the full blocks that running prefills are about to publish, and the sequences that wait for them.

Siblings (n > 1) and requests with one long prefix arrive together: the first computes the prefix, and the others are
held until it is in the cache instead of computing it again beside it. Knows keys only, no block and no pool.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.engine.sequence import Sequence


class BlocksInFlight:
    """Each key in flight has a maker, a running prefill; each held sequence awaits one key in flight."""

    def __init__(self) -> None:
        self._makers: dict[bytes, Sequence] = {}
        self._held: dict[bytes, list[Sequence]] = {}      # by the key they await
        self.num_held = 0                                 # those that have not finished while they were held

    def start(self, seq: Sequence, keys: Iterable[bytes]) -> None:
        """A prefill that will compute the blocks with these keys starts."""
        for key in keys:
            self._makers.setdefault(key, seq)

    def hold(self, seq: Sequence, keys: Iterable[bytes]) -> bool:
        """True if others are computing the sequence's next blocks, `keys`: it is given back when the last is there."""
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
        """A held sequence has just got its `finish_reason`; it is never given back."""
        self.num_held -= 1

    def published(self, keys: Iterable[bytes]) -> list[Sequence]:
        """Blocks with these keys can be found from now on; returns the sequences that awaited them."""
        freed: list[Sequence] = []
        if self._makers:
            for key in keys:
                self._makers.pop(key, None)
                freed += self._held.pop(key, ())
        alive = [seq for seq in freed if seq.finish_reason is None]
        self.num_held -= len(alive)
        return alive

    def stopped(self, seq: Sequence) -> list[Sequence]:
        """A sequence stops before its prefill is complete; returns those that awaited its blocks."""
        return self.published([key for key in seq.block_keys if self._makers.get(key) is seq])

    def check(self, running: Iterable[Sequence]) -> None:
        """AssertionError unless all makers run and every held sequence has one to wait for."""
        assert set(self._makers.values()) <= set(running), "a block in flight has a maker that does not run"
        assert self._held.keys() <= self._makers.keys(), "a sequence is held for a block that nobody computes"
        num_alive = sum(seq.finish_reason is None for seqs in self._held.values() for seq in seqs)
        assert num_alive == self.num_held, f"{num_alive} sequences are held, {self.num_held} counted"

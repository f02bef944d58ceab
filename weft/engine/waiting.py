"""`WaitingQueue`: the sequences that wait to run, in their order (`Sequence.order`). Knows no block and no policy."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from weft.engine.sequence import Sequence


class WaitingQueue:
    """A heap by `order`. A sequence that finishes while it waits stays in it until it surfaces or is swept out."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[float, ...], Sequence]] = []    # orders differ, so sequences are never compared
        self._num_dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._num_dead

    def push(self, seq: Sequence) -> None:
        """O(log n). The order puts a preempted sequence before all that came after it."""
        heappush(self._heap, (seq.order, seq))

    def first(self) -> Sequence | None:
        """The next in line, left in place; None if nobody waits."""
        heap = self._heap
        while heap and heap[0][1].finish_reason is not None:
            heappop(heap)
            self._num_dead -= 1
        return heap[0][1] if heap else None

    def pop(self) -> Sequence:
        """Takes out what `first` has returned."""
        return heappop(self._heap)[1]

    def discard(self) -> None:
        """A waiting sequence has just got its `finish_reason`; it is never given back. O(1) on average."""
        self._num_dead += 1
        if self._num_dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[1].finish_reason is None]
            heapify(self._heap)
            self._num_dead = 0

    def check(self) -> None:
        """AssertionError if the count of dead entries is wrong."""
        num_dead = sum(1 for _, seq in self._heap if seq.finish_reason is not None)
        assert num_dead == self._num_dead, f"{num_dead} finished sequences in the heap, {self._num_dead} counted"

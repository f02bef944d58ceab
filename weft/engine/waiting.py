"""`WaitingQueue`: the sequences that wait to run, by `Sequence.order`. The queue knows no block and no policy."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from weft.engine.sequence import Sequence


class WaitingQueue:
    """A heap by `order`. A sequence aborted while it waits stays in the heap until it is on top or `discard` sweeps."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[float, ...], Sequence]] = []    # orders differ, so sequences are never compared
        self._num_dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._num_dead

    def push(self, seq: Sequence) -> None:
        """Adds a sequence, O(log n). A preempted one comes before all later arrivals, because `order` stays."""
        heappush(self._heap, (seq.order, seq))

    def first(self) -> Sequence | None:
        """The next sequence, left in the queue; None if the queue is empty."""
        heap = self._heap
        while heap and heap[0][1].finish_reason is not None:
            heappop(heap)
            self._num_dead -= 1
        return heap[0][1] if heap else None

    def pop(self) -> Sequence:
        """Removes and returns the sequence that `first` has just returned."""
        return heappop(self._heap)[1]

    def discard(self) -> None:
        """Notes that a waiting sequence was aborted (has its `finish_reason`). O(1) on average."""
        self._num_dead += 1
        if self._num_dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[1].finish_reason is None]
            heapify(self._heap)
            self._num_dead = 0

    def check(self) -> None:
        """AssertionError if the count of aborted entries is wrong."""
        num_dead = sum(1 for _, seq in self._heap if seq.finish_reason is not None)
        assert num_dead == self._num_dead, f"{num_dead} finished sequences in the heap, {self._num_dead} counted"

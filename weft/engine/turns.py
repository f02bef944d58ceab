"""`Turns`: the order of sequences: by priority where asked for, then fair among clients, then by arrival.

A client's waiting sequences have turns one after another, and a client that comes new begins at the turn that starts
now (start-time fair queueing, Goyal, Vin and Cheng 1996, each sequence one unit). So a thousand sequences of one
client stand behind the first one of another. Sequences without a client start in order of arrival. Knows no queue.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.engine.process.messages import EngineRequest
from weft.engine.sequence import Sequence


@dataclass(slots=True)
class _Client:
    """last: the turn of the client's last sequence that may start. num_open: its unfinished sequences."""

    last: int
    num_open: int = 0


class Turns:
    """by_priority: `EngineRequest.priority` comes first, and a client has turns of its own in each priority."""

    def __init__(self, *, by_priority: bool) -> None:
        self._by_priority = by_priority
        self._clients: dict[tuple[int, str], _Client] = {}      # with unfinished sequences, or a turn to come
        self._now = self._num_added = 0

    def order(self, request: EngineRequest) -> tuple[float, ...]:
        """The order of a new sequence, lower first. Two sequences never have the same."""
        turn, self._num_added = self._now, self._num_added + 1
        if request.client is not None:
            client = self._clients.setdefault(self._key(request), _Client(self._now - 1))
            turn = client.last = max(self._now, client.last + 1)
            client.num_open += 1
        if self._by_priority:
            return (request.priority, turn, request.arrival_time, self._num_added)
        return (turn, self._num_added)

    def started(self, seq: Sequence) -> None:
        """The sequence begins to run: new clients begin at its turn."""
        turn = int(seq.order[1 if self._by_priority else 0])
        if turn > self._now:
            self._now = turn
            self._clients = {key: each for key, each in self._clients.items() if each.num_open or each.last >= turn}

    def ended(self, seq: Sequence) -> None:
        """The sequence has ended, in any way. A client without another one is forgotten once its last turn is over, so
        that one who sends a request after the other has no turn before those who wait.
        """
        if seq.request.client is not None:
            key = self._key(seq.request)
            client = self._clients[key]
            client.num_open -= 1
            client.last -= seq.first_scheduled_time is None      # one that never started costs no turn
            if not client.num_open and client.last < self._now:
                del self._clients[key]

    def _key(self, request: EngineRequest) -> tuple[int, str]:
        return (request.priority if self._by_priority else 0, request.client or "")

"""`EncoderCache`: which media items' rows are kept, and for which sequences. Accounting only: it holds no tensor.

An item is known by its digest, so requests share the rows of equal items. A sequence holds an item from the step that
needs its first row until its last row is computed; rows that no sequence holds stay until room is needed, oldest first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable


class EncoderCache:
    """capacity: rows of all items together. One item alone may have more.

    queries, hits: items that sequences began with, and those whose rows were here. num_rows: rows that are kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.num_rows = capacity, 0
        self.queries = self.hits = 0
        self._rows: OrderedDict[bytes, int] = OrderedDict()          # the one that was let go last comes last
        self._holders: dict[bytes, set[str]] = {}
        self._held: dict[str, dict[bytes, None]] = {}                # by request id

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._rows

    def is_held(self, request_id: str, digest: bytes) -> bool:
        """Whether a sequence holds an item."""
        return digest in self._held.get(request_id, ())

    def has_room(self, num_rows: int, beside: Iterable[bytes] = ()) -> bool:
        """Whether `num_rows` new rows fit beside those that are held, and beside the items that `beside` names."""
        kept = {*self._holders, *(digest for digest in beside if digest in self._rows)}
        return not kept or sum(self._rows[digest] for digest in kept) + num_rows <= self.capacity

    def hold(self, request_id: str, digest: bytes, num_rows: int) -> list[bytes]:
        """A sequence needs an item: keep it. Returns the items whose rows have to go."""
        if not self.is_held(request_id, digest):
            self.queries += 1
            self.hits += digest in self._rows
            self._holders.setdefault(digest, set()).add(request_id)
            self._held.setdefault(request_id, {})[digest] = None
        if digest in self._rows:
            return []
        self._rows[digest] = num_rows
        self.num_rows += num_rows
        return self._evict(self.capacity)

    def clear(self) -> list[bytes]:
        """Forget all items that no sequence holds. Returns them."""
        return self._evict(0)

    def let_go(self, request_id: str, digests: Iterable[bytes] | None = None) -> None:
        """A sequence needs these items no longer; None: none of them."""
        held = self._held.get(request_id, {})
        for digest in list(held if digests is None else digests):
            if digest not in held:
                continue
            del held[digest]
            holders = self._holders[digest]
            holders.discard(request_id)
            if not holders:
                del self._holders[digest]
                self._rows.move_to_end(digest)
        if not held:
            self._held.pop(request_id, None)

    def _evict(self, num_rows: int) -> list[bytes]:
        """Forget items that no sequence holds, oldest first, until at most `num_rows` are kept. Returns them."""
        gone: list[bytes] = []
        for digest in list(self._rows):
            if self.num_rows <= num_rows:
                break
            if digest not in self._holders:
                self.num_rows -= self._rows.pop(digest)
                gone.append(digest)
        return gone

    def check(self, request_ids: Iterable[str]) -> None:
        """AssertionError unless the counts agree, and only these sequences hold items. For tests."""
        assert self.num_rows == sum(self._rows.values()), "rows are miscounted"
        assert set(self._held) <= set(request_ids), "an ended sequence holds items"
        held = {(digest, request_id) for request_id, items in self._held.items() for digest in items}
        known = {(digest, request_id) for digest, ids in self._holders.items() for request_id in ids}
        assert held == known and set(self._holders) <= set(self._rows), "held items are miscounted"
